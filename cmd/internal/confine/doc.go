// Package confine takes from the running daemon what it needs no more, for all
// of its threads and for good: it reads what strangers send.
package confine
