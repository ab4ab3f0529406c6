// Package splice writes IP packets of which some TCP is changed: another
// payload and sequence number, or other acknowledgements. All headers and
// options stay as they are, byte for byte; lengths and checksums are made anew.
package splice
