// Package cell has texts from the wire as a table has them: nothing that a
// terminal acts on, and nothing that moves the columns.
package cell
