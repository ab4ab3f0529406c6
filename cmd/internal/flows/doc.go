// Package flows tells what the kernel's conntrack knows of connections: it
// listens for events of marked ones, dumps, looks up and deletes entries
// (ctnetlink, net/netfilter/nf_conntrack_netlink.c).
//
// Events get lost when they come faster than they are read; the listener then
// says so with an Overrun, and whoever reads the events takes a dump.
package flows
