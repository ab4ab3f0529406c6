package replay_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"ftpinhole/cmd/internal/replay"
	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
)

var (
	client = netip.MustParseAddrPort("10.0.1.2:40000")
	server = netip.MustParseAddrPort("10.0.2.2:21")
	begin  = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
)

// tape is a capture in memory.
type tape struct {
	at       time.Time
	packets  []packet
	up, down uint32
	end      error // instead of io.EOF
}

type packet struct {
	at  time.Time
	pkt conntrack.Packet
	ok  bool
}

func (t *tape) Next() (time.Time, conntrack.Packet, bool, error) {
	if len(t.packets) == 0 {
		if t.end != nil {
			return time.Time{}, conntrack.Packet{}, false, t.end
		}
		return time.Time{}, conntrack.Packet{}, false, io.EOF
	}
	p := t.packets[0]
	t.packets = t.packets[1:]
	return p.at, p.pkt, p.ok, nil
}

func (t *tape) add(src, dst netip.AddrPort, seq, ack uint32, flags conntrack.Flags, payload string) {
	t.at = t.at.Add(time.Millisecond)
	t.packets = append(t.packets, packet{t.at, conntrack.Packet{Src: src, Dst: dst, Seq: seq, Ack: ack, Flags: flags, Payload: []byte(payload)}, true})
}

func (t *tape) c(line string) {
	t.add(client, server, t.up, t.down, conntrack.ACK, line+"\r\n")
	t.up += uint32(len(line) + 2)
}

func (t *tape) s(line string) {
	t.add(server, client, t.down, t.up, conntrack.ACK, line+"\r\n")
	t.down += uint32(len(line) + 2)
}

// login is a capture up to the login; without the handshake it is joined.
func login(handshake bool) *tape {
	t := &tape{at: begin, up: 1000, down: 5000}
	if handshake {
		t.add(client, server, t.up, 0, conntrack.SYN, "")
		t.up++
		t.add(server, client, t.down, t.up, conntrack.SYN|conntrack.ACK, "")
		t.down++
		t.add(client, server, t.up, t.down, conntrack.ACK, "")
	}
	t.s("220 ready")
	t.c("USER bob")
	t.s("331 password")
	t.c("PASS secret")
	t.s("230 welcome")
	return t
}

// data is a whole data connection that carries five bytes back.
func (t *tape) data(src, dst netip.AddrPort) {
	t.add(src, dst, 1, 0, conntrack.SYN, "")
	t.add(dst, src, 1, 2, conntrack.SYN|conntrack.ACK, "")
	t.add(src, dst, 2, 2, conntrack.ACK, "")
	t.add(dst, src, 2, 2, conntrack.ACK, "bytes")
	t.add(dst, src, 7, 2, conntrack.ACK|conntrack.FIN, "")
	t.add(src, dst, 2, 8, conntrack.ACK|conntrack.FIN, "")
}

type allowAll struct{}

func (allowAll) Terms(netip.Addr, netip.Addr) conntrack.Terms {
	return conntrack.Terms{LoginRequired: true}
}
func (allowAll) Decide(conntrack.Request) conntrack.Reason { return "" }

// run replays and gives the records of pinholes in short.
func run(t *testing.T, src replay.Source) ([]string, error) {
	t.Helper()
	limits := conntrack.Limits{LineBytes: 4096, Commands: 32, Pinholes: 10, PinholesPerClient: 10, Sessions: 10, SessionsPerClient: 10, HalfOpen: 10}
	tracker := conntrack.New(conntrack.Config{
		Ports: []uint16{21}, Timeout: 30 * time.Second, Limits: limits,
		Join: func(_, _ netip.AddrPort) bool { return true },
	}, allowAll{}, conntrack.NewQuota(limits))
	words := map[conntrack.Action]string{conntrack.Open: "open", conntrack.Use: "use", conntrack.Close: "close", conntrack.Deny: "deny", conntrack.End: "end"}
	var list []string
	err := replay.Run(src, tracker, func(r *conntrack.Record) {
		if w := words[r.Action]; w != "" {
			list = append(list, fmt.Sprintf("%s %s %v", w, r.Reason, r.Time.Sub(begin).Round(100*time.Millisecond)))
		}
	})
	return list, err
}

func expect(t *testing.T, src replay.Source, want ...string) {
	t.Helper()
	got, err := run(t, src)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPassiveAndActiveWithTheirData(t *testing.T) {
	c := login(true)
	c.c("PASV")
	c.s("227 Entering Passive Mode (10,0,2,2,195,80)")
	c.data(netip.MustParseAddrPort("10.0.1.2:51000"), netip.MustParseAddrPort("10.0.2.2:50000"))
	c.c("EPRT |1|10.0.1.2|50001|")
	c.s("200 fine")
	c.data(netip.MustParseAddrPort("10.0.2.2:20"), netip.MustParseAddrPort("10.0.1.2:50001"))
	c.add(client, server, c.up, c.down, conntrack.ACK|conntrack.FIN, "")
	c.up++
	c.add(server, client, c.down, c.up, conntrack.ACK|conntrack.FIN, "")
	expect(t, c, "open  0s", "use  0s", "close finished 0s", "open  0s", "use  0s", "close finished 0s", "end fin 0s")
}

func TestSessionWithoutHandshakeIsJoined(t *testing.T) {
	c := login(false)
	c.c("PASV")
	c.s("227 Entering Passive Mode (10,0,2,2,195,80)")
	expect(t, c, "open  0s", "close end_of_capture 0s", "end end_of_capture 0s")
}

func TestPinholeExpiresInTheCapturesTime(t *testing.T) {
	c := login(true)
	c.c("PASV")
	c.s("227 Entering Passive Mode (10,0,2,2,195,80)")
	c.at = begin.AddDate(50, 0, 0) // no loop over the years between
	c.c("NOOP")
	end := begin.AddDate(50, 0, 0).Sub(begin)
	expect(t, c, "open  0s", "close expired 29.9s", fmt.Sprintf("end end_of_capture %v", end))
}

func TestTimeDoesNotGoBack(t *testing.T) {
	c := login(true)
	c.at = begin.Add(-time.Hour)
	c.c("PASV")
	c.s("227 Entering Passive Mode (10,0,2,2,195,80)")
	expect(t, c, "open  0s", "close end_of_capture 0s", "end end_of_capture 0s")
}

func TestRefusedPort(t *testing.T) {
	c := login(true)
	c.c("PORT 10,0,1,2,195,80")
	c.s("500 no")
	expect(t, c, "open  0s", "close refused 0s", "end end_of_capture 0s")
}

func TestSYNThatNobodyAnswersGoesWithThePinhole(t *testing.T) {
	c := login(true)
	c.c("PASV")
	c.s("227 Entering Passive Mode (10,0,2,2,195,80)")
	c.add(netip.MustParseAddrPort("10.0.1.2:51000"), netip.MustParseAddrPort("10.0.2.2:50000"), 1, 0, conntrack.SYN, "")
	c.at = c.at.Add(time.Minute)
	c.c("NOOP")
	expect(t, c, "open  0s", "use  0s", "close expired 1m0s", "end end_of_capture 1m0s")
}

func TestBrokenCaptureGivesWhatWasReadAndItsError(t *testing.T) {
	c := login(true)
	c.end = errors.New("cut off")
	got, err := run(t, c)
	if !errors.Is(err, c.end) {
		t.Errorf("error %v, want %v", err, c.end)
	}
	if diff := cmp.Diff([]string{"end end_of_capture 0s"}, got); diff != "" {
		t.Error(diff)
	}
}
