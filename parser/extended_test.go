package parser

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestParseExtended(t *testing.T) {
	whole := func(text, want string) endpoint { return endpoint{text, want, text} }
	bad := func(text string) endpoint { return endpoint{text, "", ""} }
	check(t, ParseExtended, []endpoint{
		whole("|1|192.0.2.10|50027|", "192.0.2.10:50027"),
		whole("|2|2001:db8::10|50027|", "[2001:db8::10]:50027"),
		whole("|2|2001:0DB8:0:0:0:0:0:10|50027|", "[2001:db8::10]:50027"),
		whole("|2|64:ff9b::192.0.2.10|50027|", "[64:ff9b::c000:20a]:50027"),
		whole("|2|::ffff:192.0.2.10|50027|", "192.0.2.10:50027"),
		whole("|2|::ffff:c000:20a|50027|", "192.0.2.10:50027"),
		whole(",2,0:0:0:0:0:0:0:1,5282,", "[::1]:5282"),
		whole("!1!192.0.2.10!50027!", "192.0.2.10:50027"),
		whole("~1~192.0.2.10~50027~", "192.0.2.10:50027"),
		whole("x1x192.0.2.10x50027x", "192.0.2.10:50027"),
		whole("|1|192.0.2.10|0|", "192.0.2.10:0"),
		whole("|1|192.0.2.10|65535|", "192.0.2.10:65535"),
		whole("|1|192.0.2.10|00021|", "192.0.2.10:21"),

		bad(""), bad("|"), bad("||"), bad("||||"), bad("|||50027|"),
		bad("|1|192.0.2.10|50027"),
		bad("|1|192.0.2.10|50027|x"),
		bad("|1|192.0.2.10|50027||"),
		bad("|1|192.0.2.10|50027| "),
		bad("|1|192.0.2.10!50027|"),
		bad("!1|192.0.2.10|50027|"),
		bad(",1,2,3"),
		bad("11119202103500271"),
		bad("\x1f1\x1f192.0.2.10\x1f50027\x1f"),
		bad(" 1 192.0.2.10 50027 "),
		bad("\x7f1\x7f192.0.2.10\x7f50027\x7f"),
		bad("|3|192.0.2.10|50027|"),
		bad("|0|192.0.2.10|50027|"),
		bad("|01|192.0.2.10|50027|"),
		bad("| 1|192.0.2.10|50027|"),
		bad("|1|2001:db8::10|50027|"),
		bad("|2|192.0.2.10|50027|"),
		bad("|1|::ffff:192.0.2.10|50027|"),
		bad("|2|fe80::10%eth0|50027|"),
		bad("|2|::ffff:192.0.2.10%1|50027|"),
		bad("|2|[2001:db8::10]|50027|"),
		bad("|2|2001:db8:::10|50027|"),
		bad("|1|192.0.2.256|50027|"),
		bad("|1|192.0.2|50027|"),
		bad("|1|010.0.0.1|50027|"), // 10.0.0.1 to one program, 8.0.0.1 to another
		bad("|1|192.0.2.10 |50027|"),
		bad("|1||50027|"),
		bad("|2|0000000000000000000000000000000000000000000000::1|50027|"),
		bad("|1|192.0.2.10||"),
		bad("|1|192.0.2.10|65536|"),
		bad("|1|192.0.2.10|65558|"),
		bad("|1|192.0.2.10|050027|"),
		bad("|1|192.0.2.10|18446744073709601643|"),
		bad("|1|192.0.2.10|+5002|"),
		bad("|1|192.0.2.10|-1|"),
		bad("|1|192.0.2.10|0x50|"),
		bad("|1|192.0.2.10| 5002|"),
		bad("192,0,2,10,195,75"),
	})
}

func TestParseExtendedPassive(t *testing.T) {
	check(t, ParseExtendedPassive, []endpoint{
		{"Entering Extended Passive Mode (|||49995|)", "[::]:49995", "|||49995|"},
		{"Entering Extended Passive Mode (|||49995|).", "[::]:49995", "|||49995|"},
		{"entering extended passive mode (|||49995|", "[::]:49995", "|||49995|"},
		{"ok (|||49995|x", "[::]:49995", "|||49995|"},
		{"(!!!49995!)", "[::]:49995", "!!!49995!"},
		{"(###65535#)", "[::]:65535", "###65535#"},
		{"(((((49995()", "[::]:49995", "(((49995("},
		{"(---49995-)", "[::]:49995", "---49995-"},
		{"(|||0|)", "[::]:0", "|||0|"},
		{"(|||00021|)", "[::]:21", "|||00021|"},
		{"Extended Passive Mode (EPSV) ok (|||49995|)", "[::]:49995", "|||49995|"},
		{"(1) (|||49995|)", "[::]:49995", "|||49995|"},
		{"(|||) (|||49995|)", "[::]:49995", "|||49995|"},
		{"|||49995|", "[::]:49995", "|||49995|"}, // lftp
		{"!!!49995!)", "[::]:49995", "!!!49995!"},

		{"", "", ""},
		{"Entering Extended Passive Mode |||49995|", "", ""},
		{"|||49995| (x)", "", ""}, // lftp looks behind the parenthesis
		{"Entering Extended Passive Mode (no port here)", "", ""},
		{"(||||)", "", ""},
		{"(|||)", "", ""},
		{"(||49995|)", "", ""},
		{"(|||49995)", "", ""},
		{"(|||49995", "", ""},
		{"(|||49995!)", "", ""},
		{"(!|!49995!)", "", ""},
		{"(1111499951)", "", ""},
		{"(   49995 )", "", ""},
		{"( |||49995|)", "", ""},
		{"(||| 49995|)", "", ""},
		{"(|||49995 |)", "", ""},
		{"(|||-1|)", "", ""},
		{"(|||+1|)", "", ""},
		{"(|||x|)", "", ""},
		{"(|||65536|)", "", ""},
		{"(|||1000000|)", "", ""},
		{"(|||049995|)", "", ""},
		{"(|1|192.0.2.1|49995|)", "", ""},
		{"(|1||49995|)", "", ""},
		{"(||192.0.2.1|49995|)", "", ""},
		{"(|||49995|) (|||49996|)", "", ""},
		{"(|||49995|) (|||49995|)", "", ""},
		{"(|||99999|) (|||49995|)", "", ""},
		{"(192,0,2,1,195,75)", "", ""},
	})
}

func TestExtendedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{4, 16}).Draw(t, "length")
		addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "addr"))
		port, delim := rapid.Uint16().Draw(t, "port"), rapid.Byte().Draw(t, "delim")
		if n == 16 && rapid.Bool().Draw(t, "mapped") {
			b := addr.As16()
			copy(b[:], netip.MustParseAddr("::ffff:0.0.0.0").AsSlice()[:12])
			addr = netip.AddrFrom16(b)
		}
		arg := AppendExtended(nil, delim, netip.AddrPortFrom(addr, port))
		want := Endpoint{netip.AddrPortFrom(addr.Unmap(), port), 0, len(arg)}
		if got, err := ParseExtended(arg); err != nil || got != want {
			t.Fatalf("%v %v: %q is read as %v, %v", addr, port, arg, got, err)
		}
	})
}

func TestExtendedPassiveRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		port := rapid.Uint16().Draw(t, "port")
		delim := rapid.Byte().Draw(t, "delim")
		before := rapid.SampledFrom([]string{"(", "ok (", "Extended (EPSV) mode ("}).Draw(t, "before")
		text := AppendExtendedPassive([]byte(before), delim, port)
		want := Endpoint{netip.AddrPortFrom(netip.Addr{}, port), len(before), len(text)}
		if got, err := ParseExtendedPassive(append(text, ')')); err != nil || got != want {
			t.Fatalf("%v: %q is read as %v, %v", port, text, got, err)
		}
	})
}

func TestAppendExtended(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"192.0.2.10", "|1|192.0.2.10|50027|"},
		{"::ffff:192.0.2.10", "|1|192.0.2.10|50027|"},
		{"2001:db8::10", "|2|2001:db8::10|50027|"},
		{"fe80::10%eth0", "|2|fe80::10|50027|"},
	} {
		ap := netip.AddrPortFrom(netip.MustParseAddr(tt.addr), 50027)
		if got := string(AppendExtended(nil, '|', ap)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.addr, got, tt.want)
		}
	}
	for _, delim := range []byte(":.aF5 \x00\xff") {
		ap := netip.AddrPortFrom(netip.MustParseAddr("2001:db8::af"), 50027)
		if got := string(AppendExtended(nil, delim, ap)); got != "|2|2001:db8::af|50027|" {
			t.Errorf("delimiter %q: %q", delim, got)
		}
	}
	if got := AppendExtended(nil, '|', netip.AddrPort{}); got != nil {
		t.Errorf("no address: %q", got)
	}
}
