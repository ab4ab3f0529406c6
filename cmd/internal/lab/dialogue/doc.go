// Package dialogue is a list of scripted control connections, legal and not,
// and of what each of them may open. It holds no sockets: tests play the list
// live through a gateway, and through the tracker alone.
package dialogue
