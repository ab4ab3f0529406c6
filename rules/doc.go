// Package rules says what is allowed: it decides about negotiated data
// channels, describes the hole that one of them needs, and words the line that
// the operator's own firewall needs.
package rules
