package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"ftpinhole/cmd/internal/control"
)

// expectation is a pinhole as conntrack -L expect shows an expectation.
type expectation struct {
	left           time.Duration
	src            netip.Addr
	fromPort       uint16 // the only source port that may come; 0 is any
	dst            netip.AddrPort
	client, server netip.AddrPort // the master: the control connection
}

// line is libnetfilter_conntrack's text (src/expect/snprintf_default.c), with
// our name in the helper's place.
func (e expectation) line() (string, error) {
	if !e.src.IsValid() || !e.dst.IsValid() || !e.client.IsValid() || !e.server.IsValid() {
		return "", errors.New("the daemon has left out an address; is it of the same version?")
	}
	mask := "255.255.255.255"
	if e.src.Is6() {
		mask = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	}
	portMask := 0
	if e.fromPort != 0 {
		portMask = 0xffff
	}
	return fmt.Sprintf("%d proto=6 src=%s dst=%s sport=%d dport=%d mask-src=%s mask-dst=%s sport=%d dport=65535 master-src=%s master-dst=%s sport=%d dport=%d class=0 helper=ftpinhole",
		int64(e.left/time.Second), e.src.WithZone(""), e.dst.Addr().WithZone(""), e.fromPort, e.dst.Port(), mask, mask, portMask,
		e.client.Addr().WithZone(""), e.server.Addr().WithZone(""), e.client.Port(), e.server.Port()), nil
}

// printExpectations prints the pinholes that wait for their connection. One
// that was used is no expectation any more.
func printExpectations(w io.Writer, list []control.PinholeInfo) error {
	for _, p := range list {
		if p.SrcPort != 0 {
			continue
		}
		line, err := expected(p).line()
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// expected is the pinhole as an expectation; what cannot be read stays zero.
func expected(p control.PinholeInfo) expectation {
	e := expectation{left: time.Duration(p.ExpiresIn * float64(time.Second)), fromPort: p.FromPort}
	e.src, _ = netip.ParseAddr(p.Src)
	if dst, err := netip.ParseAddr(p.Dst); err == nil {
		e.dst = netip.AddrPortFrom(dst, p.DstPort)
	}
	e.client, _ = netip.ParseAddrPort(p.Client)
	e.server, _ = netip.ParseAddrPort(p.Server)
	return e
}
