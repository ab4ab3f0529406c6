// Package queue reads packets from a netfilter queue and gives each one its
// verdict.
package queue
