// Package replay leads the packets of a capture through the tracker and the
// policy, as the gateway does with live ones, and tells what it would have
// recorded. It stands in for the kernel: pinholes open at once, and their data
// connections are looked for in the capture.
package replay
