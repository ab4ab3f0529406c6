package parser

import (
	"errors"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The judges: the same forms as regular expressions and package netip say them.
var (
	sixNumbers = regexp.MustCompile(`^[ \t]*(\d+)[ \t]*,[ \t]*(\d+)[ \t]*,[ \t]*(\d+)[ \t]*,[ \t]*(\d+)[ \t]*,[ \t]*(\d+)[ \t]*,[ \t]*(\d+)[ \t]*$`)
	aRow       = regexp.MustCompile(`\d+(,[ \t]*\d+){5,}`)
	lone       = regexp.MustCompile(`^(?s:.*[^0-9A-Za-z_.,+-])?$`)
	tail       = regexp.MustCompile(`^([.,+-]*$|[.,+-]+[^0-9.,+-]|[^0-9A-Za-z_.,+-])`)
	aTriple    = regexp.MustCompile(`^([!-/:-~])([!-/:-~])([!-/:-~])(\d+)([!-/:-~])`)
)

func octets(numbers []string) (netip.AddrPort, bool) {
	var b [6]byte
	for i, n := range numbers {
		v, err := strconv.ParseUint(n, 10, 8)
		if err != nil || len(n) > 3 {
			return netip.AddrPort{}, false
		}
		b[i] = byte(v)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(b[4])<<8|uint16(b[5])), true
}

func judgeHostPort(arg string) (netip.AddrPort, bool) {
	m := sixNumbers.FindStringSubmatch(arg)
	if m == nil {
		return netip.AddrPort{}, false
	}
	return octets(m[1:])
}

func judgePassive(text string) (netip.AddrPort, bool) {
	rows := aRow.FindAllStringIndex(text, -1)
	if len(rows) != 1 || !lone.MatchString(text[:rows[0][0]]) || !tail.MatchString(text[rows[0][1]:]) {
		return netip.AddrPort{}, false
	}
	return judgeHostPort(text[rows[0][0]:rows[0][1]])
}

func judgeExtended(arg string) (netip.AddrPort, bool) {
	if arg == "" || arg[0] < 33 || arg[0] > 126 || strings.Contains("0123456789", arg[:1]) {
		return netip.AddrPort{}, false
	}
	f := strings.Split(arg, arg[:1])
	if len(f) != 5 || f[0]+f[4] != "" || len(f[3]) > 5 {
		return netip.AddrPort{}, false
	}
	addr, err := netip.ParseAddr(f[2])
	port, perr := strconv.ParseUint(f[3], 10, 16)
	ok := err == nil && perr == nil && (f[1] == "1" && addr.Is4() || f[1] == "2" && addr.Is6() && addr.Zone() == "")
	if !ok {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), true
}

func judgeExtendedPassive(text string) (netip.AddrPort, bool) {
	places := strings.Split(text, "(")
	for i := range places { // each place runs on to the end of the text
		places[i] = strings.Join(places[i:], "(")
	}
	if len(places) > 1 {
		places = places[1:]
	}
	var ports []string
	for _, p := range places {
		if m := aTriple.FindStringSubmatch(p); m != nil && m[1] == m[2] && m[2] == m[3] && m[3] == m[5] {
			ports = append(ports, m[4])
		}
	}
	if len(ports) != 1 || len(ports[0]) > 5 {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(ports[0], 10, 16)
	return netip.AddrPortFrom(netip.Addr{}, uint16(port)), err == nil
}

func FuzzEndpoint(f *testing.F) {
	for _, s := range []string{
		"192,0,2,10,195,75", " 192, 0 ,2,10,195 , 075", "256,0,2,10,195,75", "1,2,3,4,5,6,7",
		"Entering Passive Mode (192,0,2,1,195,75).", "2 of 1,024 =192, 0,2,1,195,75", "9,9,9,9,9,9 1,2,3,4,5,6", ".1,2,3,4,5,6..7",
		"|1|192.0.2.10|50027|", "|2|::ffff:192.0.2.10|50027|", ",2,0:0:0:0:0:0:0:1,5282,", "|2|fe80::1%1|1|",
		"Entering (Extended) Passive Mode (|||49995|)", "|||49995|", "(((((1((", "(|||1|(!!!2!",
	} {
		f.Add(s)
	}
	forms := []struct {
		name   string
		parse  func([]byte) (Endpoint, error)
		judge  func(string) (netip.AddrPort, bool)
		append func(dst []byte, old byte, ap netip.AddrPort) []byte
	}{
		{"PORT", ParseHostPort, judgeHostPort, func(dst []byte, _ byte, ap netip.AddrPort) []byte { return AppendHostPort(dst, ap) }},
		{"227", ParsePassive, judgePassive, func(dst []byte, _ byte, ap netip.AddrPort) []byte { return AppendPassive(dst, ap) }},
		{"EPRT", ParseExtended, judgeExtended, AppendExtended},
		{"229", ParseExtendedPassive, judgeExtendedPassive,
			func(dst []byte, delim byte, ap netip.AddrPort) []byte {
				return AppendExtendedPassive(dst, delim, ap.Port())
			}},
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, form := range forms {
			got, err := form.parse([]byte(text))
			want, ok := form.judge(text)
			if ok != (err == nil) || ok && got.Addr != want {
				t.Fatalf("%s %q: %v, %v; the judge says %v, %v", form.name, text, got, err, want, ok)
			}
			if err != nil {
				if got != (Endpoint{}) || !errors.Is(err, ErrMalformed) {
					t.Fatalf("%s %q: %v with error %v", form.name, text, got, err)
				}
				continue
			}
			// What is written back in its place is read as the same.
			b := form.append([]byte(text[:got.Start]), text[got.Start], got.Addr)
			b = append(b, text[got.End:]...)
			if again, err := form.parse(b); err != nil || again.Addr != got.Addr || again.Start != got.Start {
				t.Fatalf("%s %q: written back as %q, read as %v, %v", form.name, text, b, again, err)
			}
		}
	})
}
