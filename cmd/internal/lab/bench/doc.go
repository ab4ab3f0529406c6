// Package bench compares what a gateway costs: the kernel's FTP helper, an open
// firewall, a program that accepts all control packets, and ftpinhole, each in a lab
// of its own, in turns. scripts/bench runs it.
package bench
