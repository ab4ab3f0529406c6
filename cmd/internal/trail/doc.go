// Package trail keeps the audit trail in an SQLite database, which `ftpinhole
// audit` asks. The daemon writes it off the packet path, in batches; other
// processes may read it meanwhile.
//
// The file audit.db, with audit.db-wal and audit.db-shm beside it, is 0640 in a
// directory of 0750: root, the daemon's user and its group can read it. Who
// reads needs no right to write.
package trail
