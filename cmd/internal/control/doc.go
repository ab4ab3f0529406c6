// Package control is the daemon's unix socket: HTTP and JSON, spoken by the
// server in the daemon and by the client in the other verbs.
package control
