// Package probe looks at what a gateway needs and what may stand in its way:
// the rows of "ftpinhole check".
//
// It reads the whole ruleset over netlink and plays two packets through it, the
// first of a data connection and one of a control connection, with three
// answers to each match: yes, no, and unknown. What is certain is judged, what
// is unknown is at most a warning. It changes nothing: what it tries to make is
// in a transaction that it has the kernel refuse.
package probe
