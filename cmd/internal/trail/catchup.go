package trail

import (
	"database/sql"
	"errors"
	"slices"

	"ftpinhole/conntrack"
)

// Records that a daemon which was killed had in hand: no more than these.
const (
	mostMissing = queuedOthers + queuedRefusals + batchRecords
	// Others go first. Behind one that was written there may be refusals that
	// were not.
	mostRefusals = queuedRefusals + batchRecords
)

// catchUp adds what the log has and the database has not, since the daemon was
// killed between the two.
func (w *writer) catchUp() {
	if w.config.Log == nil {
		return
	}
	missing, err := w.store.missing(w.config)
	if err != nil {
		w.log.Warn("the audit trail may lack what the audit log has of the time before a crash", "path", w.path, "err", err)
	}
	if len(missing) == 0 {
		return
	}
	for i := range missing {
		w.take(&missing[i])
		if w.full() && !w.flush() {
			return
		}
	}
	if w.flush() {
		w.log.Info("the audit trail has what only the audit log had, from before a crash", "path", w.path, "records", len(missing))
	}
}

// missing are the records of the log that the database has not, the oldest first.
// Of each kind, records are written in their order: before one that it has there
// is none that it was to have.
func (s *store) missing(cfg Config) ([]conntrack.Record, error) {
	var missing []conntrack.Record
	var reached [kinds]bool
	most := mostMissing
	for r, err := range cfg.Log {
		if err != nil {
			return nil, err
		}
		kind := kindOf(&r)
		if !reached[kind] {
			if reached[kind], err = s.has(&r); err != nil {
				return nil, err
			}
		}
		if !reached[kind] {
			missing = append(missing, r)
		}
		if reached[others] {
			most = min(most, mostRefusals)
		}
		if most--; most == 0 || reached[refused] && reached[others] {
			break
		}
	}
	slices.Reverse(missing)
	return missing, nil
}

const hasRefusal = "SELECT 1 FROM refusals INDEXED BY refusals_by_time WHERE time = ? AND flow = ?"

// has reports whether the database has a record. A refusal has no name: another
// one of the same session in the same microsecond counts as it.
func (s *store) has(r *conntrack.Record) (bool, error) {
	t, i := tableOf(r.Action)
	query, args := hasRefusal, []any{r.Time.UnixMicro(), int64(r.FlowID)}
	if name := t.nameOf(r); name != nil {
		query, args = t.having(t.events[i]), []any{name}
	}
	var one int
	err := s.db.QueryRow(query, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
