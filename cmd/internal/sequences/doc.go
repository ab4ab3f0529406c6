// Package sequences keeps what the next daemon needs of sessions whose sequence
// numbers are shifted: a file each, in a directory that is meant to lie in
// memory (tmpfs). Such a session cannot go on without (law 6), and what the
// kernel holds of it, its connection, does not outlive the machine's memory
// either.
package sequences
