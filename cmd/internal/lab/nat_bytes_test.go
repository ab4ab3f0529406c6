package lab_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// noise is up to three commands of less than so many bytes.
func noise(random *rand.Rand, size int) string {
	var b strings.Builder
	for range random.IntN(4) {
		fmt.Fprintf(&b, "NOOP %s\r\n", strings.Repeat("x", random.IntN(size)))
	}
	return b.String()
}

// rewrites has both sides announce endpoints so many times, amid other lines,
// and compares every byte. One of fifty endpoints is used.
func rewrites(t *testing.T, p *pair, count int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, uint64(count)))
	all := commands(map[bool]int{false: 6, true: 4}[p.ends.Client.Is4()])
	for i := range count {
		command := all[i%len(all)]
		own := p.ends.Client
		if isPassive(command) {
			own = p.ends.Server
		}
		at := netip.AddrPortFrom(own, uint16(20000+random.IntN(12000))) // below those that connections take by themselves
		size := 150
		if i%100 < len(all) {
			size = 1000 // more than a segment: what does not fit any more is sent again
		}
		told, err := p.announceAmid(noise(random, size), command, at, noise(random, size))
		if err != nil {
			t.Fatalf("rewrite %d: %v", i, err)
		}
		if told.Port() != at.Port() {
			t.Errorf("rewrite %d: port %d was announced as %d, although that is free", i, at.Port(), told.Port())
		}
		if i%50 < len(all) {
			if err := p.data(command, at, told); err != nil {
				t.Fatalf("rewrite %d: %v", i, err)
			}
		}
	}
}

// translated is a lab whose gateway translates, and our daemon.
func translated(t *testing.T, n lab.NAT, args ...string) (*lab.Lab, *lab.Daemon) {
	t.Helper()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.Translate(n)
	return l, l.StartDaemon(args...)
}

// Must hold: 1,000 rewrites in one session, byte-exact. A quarter of these are
// of 229, where there is nothing to rewrite.
func TestNATThousandRewrites(t *testing.T) {
	t.Parallel()
	n := lab.NAT{Kind: "both", Length: "longer"}
	l, _ := translated(t, n)
	for _, run := range []struct {
		length        string
		family, count int
	}{{"longer", 4, 1334}, {"longer", 6, 60}, {"shorter", 4, 120}} {
		n.Length = run.length
		l.Translate(n)
		p := loginPair(t, l, n, n.Ends(run.family))
		rewrites(t, p, run.count)
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}
	noneInvalid(t, l)
}

// inPieces has a side announce an endpoint in pieces. Each is sent after the one
// before it was acknowledged, as Nagle's algorithm has it (RFC 896): what the
// gateway keeps back must not keep back the sender.
func (p *pair) inPieces(command string, at netip.AddrPort, cut func(text string) []string) (netip.AddrPort, error) {
	from, text := p.client, announcement(command, at)+"\r\n"
	if isPassive(command) {
		if err := p.tell(p.client, command+"\r\n"); err != nil {
			return netip.AddrPort{}, err
		}
		from = p.server
	}
	for i, piece := range cut(text) {
		if err := from.acknowledged(); err != nil {
			return netip.AddrPort{}, fmt.Errorf("before piece %d, %q: %w", i, piece, err)
		}
		if err := from.write(piece); err != nil {
			return netip.AddrPort{}, err
		}
	}
	got, err := p.other(from).line()
	if err != nil {
		return netip.AddrPort{}, err
	}
	told, err := p.sameWords(command, text, got)
	if err != nil || isPassive(command) {
		return told, err
	}
	return told, p.tell(p.server, "200 fine\r\n")
}

// Lines cut over segments at every place, and into single bytes, in both
// families.
func TestNATCutLines(t *testing.T) {
	t.Parallel()
	n := lab.NAT{Kind: "both", Length: "longer"}
	l, _ := translated(t, n)
	for _, family := range []int{4, 6} {
		p := loginPair(t, l, n, n.Ends(family))
		for _, command := range commands(family) {
			try := func(cut func(string) []string) {
				t.Helper()
				at, err := p.free(command)
				if err != nil {
					t.Fatal(err)
				}
				told, err := p.inPieces(command, at, cut)
				if err != nil {
					t.Fatalf("IPv%d: %v", family, err)
				}
				if err := p.data(command, at, told); err != nil {
					t.Errorf("IPv%d: %v", family, err)
				}
			}
			try(func(text string) []string { return strings.Split(text, "") })
			// The last place is between CR and LF.
			for i := 1; i < len(announcement(command, netip.AddrPortFrom(p.ends.Client, 20000)))+2; i++ {
				try(func(text string) []string {
					i := min(i, len(text)-1)
					return []string{text[:i], text[i:]}
				})
			}
		}
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}
	noneInvalid(t, l)
}

// What cannot become an announcement any more arrives as it is: a line that
// goes on too long, one that the connection's end cuts, one with another word.
func TestNATUnfinishedLines(t *testing.T) {
	t.Parallel()
	n := lab.NAT{Kind: "both", Length: "longer"}
	l, _ := translated(t, n)
	for _, text := range []string{
		"PORT 10,0,1", "PORT ", "EPRT |1|10.0.1.2", "PORT 10,0,1,2,200,\r",
		"PORT " + strings.Repeat("1", 600), "PORT " + strings.Repeat("1,", 2000),
	} {
		p := loginPair(t, l, n, n.Ends(4))
		// There is a rewrite before and none is in its way.
		if _, _, err := p.transfer("PORT"); err != nil {
			t.Fatal(err)
		}
		for _, piece := range []string{text[:len(text)/2], text[len(text)/2:]} {
			if err := p.client.write(piece); err != nil {
				t.Fatal(err)
			}
			if err := p.client.acknowledged(); err != nil {
				t.Fatalf("%.20q: %v", text, err)
			}
		}
		if len(text) > 512 {
			if err := p.server.hear(text); err != nil {
				t.Errorf("%.20q: %v", text, err)
			}
			text = ""
		}
		if err := p.client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := p.server.hear(text); err != nil {
			t.Errorf("%.20q: %v", text, err)
		}
		if err := p.tell(p.server, "221 bye\r\n"); err != nil {
			t.Error(err)
		}
		if err := p.server.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		for _, s := range []side{p.client, p.server} {
			if _, err := s.heard.ReadByte(); err != io.EOF {
				t.Errorf("%.20q: at the end the %s heard %v, want the end", text, s.where, err)
			}
		}
	}
	noneInvalid(t, l)
}
