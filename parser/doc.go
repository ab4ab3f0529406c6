// Package parser knows the language of an FTP control connection (RFC 959,
// 1123, 2228, 2428, 3659, 7151): it cuts a stream of bytes into lines, reads a
// line as a command or as part of a reply, reads the endpoints that PORT, EPRT,
// 227 and 229 name, and writes such endpoints back.
//
// It is tolerant in form (RFC 1123 4.1.2.6) and strict in numbers: where two
// real programs would read two endpoints, it reads none. It knows nothing of
// packets, sessions, time or what is allowed, and allocates nothing on the way
// of a line.
package parser
