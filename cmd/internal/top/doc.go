// Package top is the live view of a running daemon in a terminal: a model that
// is changed by messages and drawn from its fields alone.
package top
