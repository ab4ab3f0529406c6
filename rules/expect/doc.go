// Package expect is the expectation backend: pinholes are expectations of the
// kernel's conntrack, which lets the data connection in as related. That needs a
// helper on the control connection. Ours is a user-space helper that is never
// enabled: the kernel queues nothing to it and parses nothing for it, and only
// keeps its name and how many expectations a connection may have for how long.
// An nft `ct helper` object attaches it. The package speaks netlink only.
package expect
