// Package decode reads the IP and TCP headers of a packet, from a queue or a
// capture, into a conntrack.Packet.
package decode
