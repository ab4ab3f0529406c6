// Package conntrack follows FTP control sessions: it puts the bytes of each
// direction in order, matches replies to commands, and says which data
// channel client and server have agreed on (RFC 959, 1123, 2428, 4217).
//
// It does no I/O and takes the time as an argument, so that live packets, a
// capture file and a test drive the same code. It does not assume that it
// holds every packet of a session, nor that the packet in hand is the newest.
package conntrack
