package parser

import (
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// endpoint is a row of the tables: want is empty for what is malformed, at is
// the part of the text that names the endpoint.
type endpoint struct{ text, want, at string }

func check(t *testing.T, parse func([]byte) (Endpoint, error), rows []endpoint) {
	t.Helper()
	for _, row := range rows {
		got, err := parse([]byte(row.text))
		if row.want == "" {
			if !errors.Is(err, ErrMalformed) || got != (Endpoint{}) {
				t.Errorf("%q: %v, %v; want malformed", row.text, got, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", row.text, err)
			continue
		}
		if want := netip.MustParseAddrPort(row.want); got.Addr.Port() != want.Port() ||
			want.Addr() != got.Addr.Addr() && want.Addr() != netip.IPv6Unspecified() {
			t.Errorf("%q: %v, want %v", row.text, got.Addr, row.want)
		}
		if at := row.text[got.Start:got.End]; at != row.at {
			t.Errorf("%q: found at %q, want %q", row.text, at, row.at)
		}
	}
}

func TestParseHostPort(t *testing.T) {
	check(t, ParseHostPort, []endpoint{
		{"192,0,2,10,195,75", "192.0.2.10:49995", "192,0,2,10,195,75"},
		{"0,0,0,0,0,0", "0.0.0.0:0", "0,0,0,0,0,0"},
		{"255,255,255,255,255,255", "255.255.255.255:65535", "255,255,255,255,255,255"},
		{"010,000,02,1,04,001", "10.0.2.1:1025", "010,000,02,1,04,001"}, // decimal, as servers' %u
		{" 192, 0 ,2,\t10,195 , 75 ", "192.0.2.10:49995", "192, 0 ,2,\t10,195 , 75"},

		{"", "", ""},
		{"192,0,2,10,195", "", ""},
		{"192,0,2,10,195,", "", ""},
		{"192,0,2,10,195,75,", "", ""},
		{"192,0,2,10,195,75,1", "", ""},
		{",192,0,2,10,195,75", "", ""},
		{"192,,0,2,10,195,75", "", ""},
		{"256,0,2,10,195,75", "", ""},
		{"192,0,2,10,256,75", "", ""},
		{"192,0,2,10,195,256", "", ""},
		{"192,0,2,10,0,50027", "", ""},
		{"0192,0,2,10,195,75", "", ""},
		{"192,0,2,10,195,000000000000000000000000000075", "", ""},
		{"192,0,2,10,195,340282366920938463463374607431768211531", "", ""},
		{"+192,0,2,10,195,75", "", ""},
		{"192,0,2,10,-1,75", "", ""},
		{"0x1,0,2,10,195,75", "", ""},
		{"192.0.2.10.195.75", "", ""},
		{"192,0,2,10 195,75", "", ""},
		{"(192,0,2,10,195,75)", "", ""},
		{"192,0,2,10,195,75.", "", ""},
		{"192,0,2,10,195,7\b5", "", ""},
		{"192,0,2,1\x000,195,75", "", ""},
		{"foo,0,2,10,195,75", "", ""},
		{"192,0,2,10,٣,75", "", ""},
		{"|1|192.0.2.10|50027|", "", ""},
	})
}

func TestParsePassive(t *testing.T) {
	check(t, ParsePassive, []endpoint{
		{"Entering Passive Mode (192,0,2,1,195,75).", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"Entering Passive Mode (192,0,2,1,195,75)", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"Entering Passive Mode (192,0,2,1,195,75", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"entering passive mode 192,0,2,1,195,75", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"Entering Passive Mode 192,0,2,1,195,75.", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"=192,0,2,1,195,75", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"192,0,2,1,195,75", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"Mode: [192,0,2,1,195,75], go on", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"Mode 192,0,2,1,195,75, go on", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"Mode, 192,0,2,1,195,75", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"ok (192, 000, 002, 001,\t195, 075)", "192.0.2.1:49995", "192, 000, 002, 001,\t195, 075"},
		{"Data channel 2 of 10 (192,0,2,1,195,75) for 30 s", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"1,024 users, mode (192,0,2,1,195,75)", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"at 12:30, 4, 5: (192,0,2,1,195,75)", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"进入被动模式（192,0,2,1,195,75）", "192.0.2.1:49995", "192,0,2,1,195,75"},
		{"Portscan (192,0,2,1,0,22)", "192.0.2.1:22", "192,0,2,1,0,22"},
		{"Entering Passive Mode (0,0,0,0,195,75)", "0.0.0.0:49995", "0,0,0,0,195,75"},

		{"", "", ""},
		{"Logout.", "", ""},
		{"PASV command successful", "", ""},
		{"Entering Passive Mode (192,0,2,1,195)", "", ""},
		{"Entering Passive Mode (192,0,2,1,195,75,1)", "", ""},
		{"9, 192,0,2,1,195,75", "", ""}, // lftp would read 9.192.0.2
		{"Entering Passive Mode (1192,256,2,1,195,75)", "", ""},
		{"Entering Passive Mode (192,0,2,1,195,65535)", "", ""},
		{"Entering Passive Mode (192,0,2,1,1234567890,0)", "", ""},
		{"Entering Passive Mode (0192,0,2,1,195,75)", "", ""}, // curl would try 192 again
		{"192,0,2,1,195,75 or 192,0,2,1,195,76", "", ""},
		{"192,0,2,1,195,75 (192,0,2,1,195,75)", "", ""},
		{"(999,0,2,1,195,75) (192,0,2,1,195,75)", "", ""}, // curl would read 99.0.2.1
		{"(192.0.2.1,195,75)", "", ""},
		{"10.192,0,2,1,195,75", "", ""},
		{"192,0,2,1,195,75.5", "", ""},
		{"-192,0,2,1,195,75", "", ""},
		{"10,-192,0,2,1,195,75", "", ""},
		{",192,0,2,1,195,75", "", ""},
		{"9 ,192,0,2,1,195,75", "", ""},
		{"10,,192,0,2,1,195,75", "", ""},
		{"192,0,2,1,195,,75", "", ""},
		{"192,0,2,1,195 ,75", "", ""}, // no client takes a blank before a comma
		{"0x1,0,2,1,195,75", "", ""},
		{"192,0,2,1,195,0x75", "", ""},
		{"192,0,2,1,195,75a", "", ""},
		{"192,0,2,1,195,75-80", "", ""},
		{"192,0,2,1,195,75,-1", "", ""},
		{"x192,0,2,1,195,75", "", ""},
		{"192x0,2,1,195,75", "", ""},
		{"(a,b,c,d,e,f)", "", ""},
		{"(*,*,*,*,195,75", "", ""},
		{"(|||49995|)", "", ""},
	})
}

func TestHostPortRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr")))
		ap := netip.AddrPortFrom(addr, rapid.Uint16().Draw(t, "port"))
		if rapid.Bool().Draw(t, "mapped") {
			ap = netip.AddrPortFrom(netip.AddrFrom16(addr.As16()), ap.Port())
		}
		want := netip.AddrPortFrom(addr, ap.Port())
		arg := AppendHostPort(nil, ap)
		if got, err := ParseHostPort(arg); err != nil || got != (Endpoint{want, 0, len(arg)}) {
			t.Fatalf("%v: %q is read as %v, %v", ap, arg, got, err)
		}
		before := rapid.SampledFrom([]string{"", "Entering Passive Mode (", "=", "1,024 of 9: "}).Draw(t, "before")
		text := append(AppendPassive([]byte(before), ap), rapid.SampledFrom([]string{"", ").", ".", ", ok"}).Draw(t, "after")...)
		if got, err := ParsePassive(text); err != nil || got != (Endpoint{want, len(before), len(before) + len(arg)}) {
			t.Fatalf("%v: %q is read as %v, %v", ap, text, got, err)
		}
	})
}

func TestAppendHostPortNeedsIPv4(t *testing.T) {
	for _, addr := range []netip.Addr{{}, netip.MustParseAddr("2001:db8::1")} {
		if got := AppendHostPort([]byte("PORT "), netip.AddrPortFrom(addr, 1025)); string(got) != "PORT " {
			t.Errorf("%v: %q", addr, got)
		}
	}
}
