package lab_test

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// speak is the least FTP server: it agrees on passive data ports, and keeps
// each open until the next.
func speak(t *testing.T, l *lab.Lab, conn net.Conn) {
	t.Cleanup(func() { conn.Close() })
	at := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
	var data net.Listener
	defer func() {
		if data != nil {
			data.Close()
		}
	}()
	answer := func(line string) { fmt.Fprintf(conn, "%s\r\n", line) }
	answer("220 lab")
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch verb, _, _ := strings.Cut(lines.Text(), " "); verb {
		case "USER":
			answer("331 password")
		case "PASS":
			answer("230 in")
		case "TYPE":
			answer("200 yes")
		case "PASV", "EPSV":
			if data != nil {
				data.Close()
			}
			var err error
			if data, err = l.Listen(lab.Server, netip.AddrPortFrom(at, 0)); err != nil {
				answer("425 " + err.Error())
				continue
			}
			port := data.Addr().(*net.TCPAddr).Port
			if verb == "EPSV" {
				answer(fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", port))
				continue
			}
			address := strings.ReplaceAll(at.String(), ".", ",")
			answer(fmt.Sprintf("227 Entering Passive Mode (%s,%d,%d).", address, port>>8, port&255))
		case "QUIT":
			answer("221 bye")
			conn.Close()
		default:
			answer("502 no")
		}
	}
}
