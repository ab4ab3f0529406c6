// Package audit writes the audit trail: one conntrack.Record becomes one line
// of JSON with the field names of Suricata's EVE log, and back, or one line for people.
//
// What clients and servers sent (user names, paths) is escaped in both, so
// that neither a log pipeline nor a terminal can be driven from the wire.
package audit
