// Package lab is for tests only: it makes a client, a gateway and a server in
// network namespaces, starts real FTP servers and the daemon in them, runs
// real FTP clients, and removes everything when the test ends. The work is
// done by scripts/lab; what it needs is installed by scripts/packages.
package lab
