// Package gateway is the daemon: it leads packets from the kernel's queues
// through the tracker and the policy to pinholes in the kernel, records, and
// verdicts.
//
// A queue with its sessions is a shard, and each shard has one goroutine that
// owns all of it. One more goroutine changes the kernel's pinholes, one asks
// conntrack and one guards the table. They talk through mailboxes that never
// block the sender, so no wait for the kernel holds up another session.
package gateway
