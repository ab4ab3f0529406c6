package probe

import (
	"errors"
	"fmt"
	"time"

	"ftpinhole/rules/expect"
)

// triedHelper is a helper of our own, apart from that of a daemon that runs.
const triedHelper = "ftpinhole-check"

// expectations says which backend makes the pinholes, and why; expects is whether
// they are expectations.
func expectations(cfg Config) (row Row, expects bool) {
	const name = "backend"
	const sets = "nft: data connections need the accept line"
	if cfg.Backend == "nft" {
		return Row{Name: name, Detail: sets + "; the configuration wants it so"}, false
	}
	err := tryExpectation()
	if err == nil {
		return Row{Name: name, Detail: "expect: data connections are related; those of sessions that are older than the daemon need the accept line"}, true
	}
	row = Row{Name: name, Detail: fmt.Sprintf("%s; the kernel cannot expect connections: %v", sets, err)}
	if cfg.Backend == "expect" {
		row.Level, row.Cause = Error, Missing
		row.Mend = "modprobe nfnetlink_cthelper; where the kernel does not have it: backend = \"nft\", and the accept line"
	}
	return row, false
}

// tryExpectation does what the daemon does, with a helper and a connection that
// nobody else has, and leaves nothing.
func tryExpectation() error {
	b, err := expect.Dial(expect.Config{Helper: triedHelper, Max: 1, Timeout: time.Second})
	if err != nil {
		return err
	}
	if err = b.Register(); err == nil {
		err = errors.Join(b.Try(), b.Unregister())
	}
	return errors.Join(err, b.Close())
}
