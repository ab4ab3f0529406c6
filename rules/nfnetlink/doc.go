// Package nfnetlink is what those who speak to netfilter's netlink subsystems
// have in common: their notices, their attributes and a connection's tuple.
package nfnetlink
