// Package sequences keeps what the next daemon needs of sessions whose sequence
// numbers are shifted: a file each, in a directory that is meant to lie in
// memory (tmpfs). Such a session cannot go on without (law 6), and what the
// kernel holds of it, its connection, does not outlive the machine's memory
// either. Of all sessions a Book keeps what is known, in the state directory: a
// session that is no FTP, or not logged in, must not become one of which nothing is
// known.
package sequences
