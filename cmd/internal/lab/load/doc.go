// Package load is a server and clients that do nothing but FTP transfers, fast
// enough that what is measured is the gateway between them: a goroutine a session,
// no process is made. The clients note the ports of each transfer, so that the
// records of the gateway can be held against what happened.
package load
