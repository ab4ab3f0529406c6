package dialogue_test

import (
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/cmd/internal/gateway"
	"ftpinhole/cmd/internal/lab/dialogue"
	"ftpinhole/cmd/internal/replay"
	"ftpinhole/conntrack"
	"ftpinhole/rules"
)

func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	legal := 0
	for _, d := range dialogue.All() {
		if seen[d.Name] {
			t.Errorf("two dialogues are called %q", d.Name)
		}
		seen[d.Name] = true
		if d.Why == "" || !slices.ContainsFunc(d.Steps, func(st dialogue.Step) bool { return st.Probe != nil }) {
			t.Errorf("%s: there is nothing to be learnt from it", d.Name)
		}
		if d.Legal {
			legal++
		}
	}
	t.Logf("%d dialogues, %d of them legal", len(seen), legal)
}

// The tracker alone judges each dialogue as the table does, however its bytes
// are cut.
func TestTracker(t *testing.T) {
	for _, cut := range []struct {
		name   string
		change func([][]byte) [][]byte
	}{
		{"as written", func(segments [][]byte) [][]byte { return segments }},
		{"one byte a segment", func(segments [][]byte) [][]byte {
			return slices.Collect(slices.Chunk(slices.Concat(segments...), 1))
		}},
		{"one segment a step", func(segments [][]byte) [][]byte {
			return slices.Collect(slices.Chunk(slices.Concat(segments...), 1400))
		}},
	} {
		t.Run(cut.name, func(t *testing.T) {
			for _, d := range dialogue.All() {
				t.Run(d.Name, func(t *testing.T) { track(t, d, worldOf(0, d.IPv6), cut.change) })
			}
		})
	}
}

// The numbers that administrators know from their guides: the port is the fifth
// times 256, plus the sixth.
func TestKnownNumbers(t *testing.T) {
	for _, known := range []struct {
		line           string
		client, server string
		port           uint16
	}{
		{"PORT 68,205,87,182,12,195", "68.205.87.182", "68.205.87.183", 3267},
		{"PORT 192,168,150,80,14,178", "192.168.150.80", "192.168.150.90", 3762},
		{"227 Entering Passive Mode (68,205,87,183,13,191)", "68.205.87.182", "68.205.87.183", 3519},
		{"227 Entering Passive Mode (192,168,150,90,195,149).", "192.168.150.80", "192.168.150.90", 50069},
		{"227 Entering Passive Mode (192,168,1,1,195,75)", "192.168.1.2", "192.168.1.1", 49995},
	} {
		t.Run(known.line, func(t *testing.T) {
			world := dialogue.World{Client: netip.MustParseAddr(known.client), Server: netip.MustParseAddr(known.server)}
			say := func(from dialogue.Side, line string) dialogue.Step {
				return dialogue.Step{From: from, Text: line + "\r\n"}
			}
			command, mode := "PORT", dialogue.Active
			asked := []dialogue.Step{say(dialogue.Client, known.line), say(dialogue.Server, "200 PORT command successful.")}
			if !strings.HasPrefix(known.line, command) {
				command, mode = "PASV", dialogue.Passive
				asked = []dialogue.Step{say(dialogue.Client, "PASV"), say(dialogue.Server, known.line)}
			}
			steps := append([]dialogue.Step{
				say(dialogue.Server, "220 FTP server ready."),
				say(dialogue.Client, "USER slacker"), say(dialogue.Server, "331 Password required for slacker."),
				say(dialogue.Client, "PASS secret"), say(dialogue.Server, "230 User slacker logged in."),
				say(dialogue.Client, "SYST"), say(dialogue.Server, "215 UNIX Type: L8"),
			}, asked...)
			steps = append(steps,
				say(dialogue.Client, "LIST"), say(dialogue.Server, "150 Opening ASCII mode data connection for file list."),
				dialogue.Step{Probe: &dialogue.Probe{Mode: mode, Port: known.port, Open: true}},
				say(dialogue.Server, "226 Transfer complete."),
				say(dialogue.Client, "QUIT"), say(dialogue.Server, "221 Goodbye."))
			port := strconv.Itoa(int(known.port))
			track(t, dialogue.Dialogue{Steps: steps, Trail: []string{"open " + command + " " + port, "close finished " + port}},
				world, func(segments [][]byte) [][]byte { return segments })
		})
	}
}

func track(t *testing.T, d dialogue.Dialogue, world dialogue.World, change func([][]byte) [][]byte) {
	t.Helper()
	policy, err := rules.NewPolicy(rules.Config{ControlPorts: controlPorts})
	if err != nil {
		t.Fatal(err)
	}
	limits := conntrack.Limits{
		LineBytes: 4096, Commands: 64, Pinholes: 8, PinholesPerClient: 8, Sessions: 8, SessionsPerClient: 8, HalfOpen: 8,
	}
	tracker := conntrack.New(conntrack.Config{Ports: controlPorts, Timeout: 30 * time.Second, Limits: limits},
		gateway.Policy{Policy: policy}, conntrack.NewQuota(limits))
	var trail []string
	uses := 0
	tell := func(r *conntrack.Record) {
		port := strconv.Itoa(int(r.Pinhole.Dst.Port()))
		switch r.Action {
		case conntrack.Open:
			trail = append(trail, "open "+r.Command+" "+port)
		case conntrack.Close:
			trail = append(trail, "close "+string(r.Reason)+" "+port)
		case conntrack.Deny:
			trail = append(trail, "deny "+string(r.Reason))
		case conntrack.Use:
			uses++
		}
	}
	if err := replay.Run(&capture{packets: packets(world, d.Steps, change)}, tracker, tell); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sorted(d.Trail), sorted(trail)); diff != "" {
		t.Errorf("trail (-want +got):\n%s", diff)
	}
	if want := through(d); uses != want {
		t.Errorf("%d data connections passed, want %d", uses, want)
	}
}

// through counts the data connections that have to get through.
func through(d dialogue.Dialogue) int {
	n := 0
	for _, st := range d.Steps {
		if st.Probe != nil && st.Probe.Open {
			n++
		}
	}
	return n
}

func sorted(trail []string) []string {
	trail = append([]string{}, trail...)
	slices.Sort(trail)
	return trail
}

// capture hands out packets, a millisecond apart.
type capture struct {
	packets []conntrack.Packet
	taken   int
}

func (c *capture) Next() (time.Time, conntrack.Packet, bool, error) {
	if c.taken == len(c.packets) {
		return time.Time{}, conntrack.Packet{}, false, io.EOF
	}
	c.taken++
	return time.UnixMilli(int64(c.taken)), c.packets[c.taken-1], true, nil
}

// end is one side of a TCP connection.
type end struct {
	addr netip.AddrPort
	seq  uint32
}

// tcp writes the packets of a dialogue and its data connections.
type tcp struct{ packets []conntrack.Packet }

func (w *tcp) send(from, to *end, flags conntrack.Flags, data []byte) {
	w.packets = append(w.packets, conntrack.Packet{
		Src: from.addr, Dst: to.addr, Seq: from.seq, Ack: to.seq, Flags: flags, Payload: data,
	})
	from.seq += uint32(len(data))
	if flags&(conntrack.SYN|conntrack.FIN) != 0 {
		from.seq++
	}
}

func (w *tcp) connect(from, to *end) {
	w.send(from, to, conntrack.SYN, nil)
	w.send(to, from, conntrack.SYN|conntrack.ACK, nil)
	w.send(from, to, conntrack.ACK, nil)
}

func (w *tcp) finish(from, to *end) {
	w.send(from, to, conntrack.ACK|conntrack.FIN, nil)
	w.send(to, from, conntrack.ACK, nil)
}

func packets(world dialogue.World, steps []dialogue.Step, change func([][]byte) [][]byte) []conntrack.Packet {
	var w tcp
	client := end{netip.AddrPortFrom(world.Client, 40000), 1000}
	server := end{netip.AddrPortFrom(world.Server, 21), 0xffffff80}
	w.connect(&client, &server)
	ended := make(map[dialogue.Side]bool)
	for i, st := range steps {
		from, to := &client, &server
		if st.From == dialogue.Server {
			from, to = to, from
		}
		switch {
		case st.Probe != nil:
			src, dst := world.Ends(*st.Probe)
			here, there := end{netip.AddrPortFrom(src, uint16(41000+i)), 1}, end{dst, 1}
			if !st.Probe.Open {
				w.send(&here, &there, conntrack.SYN, nil)
				continue
			}
			w.connect(&here, &there)
			w.finish(&here, &there)
			w.finish(&there, &here)
		case st.End == dialogue.RST:
			w.send(from, to, conntrack.RST|conntrack.ACK, nil)
			ended[dialogue.Client], ended[dialogue.Server] = true, true
		case st.End == dialogue.FIN:
			w.finish(from, to)
			ended[st.From] = true
		default:
			for _, segment := range change(world.Segments(st)) {
				w.send(from, to, conntrack.ACK, segment)
				w.send(to, from, conntrack.ACK, nil)
			}
		}
	}
	if !ended[dialogue.Client] {
		w.finish(&client, &server)
	}
	if !ended[dialogue.Server] {
		w.finish(&server, &client)
	}
	return w.packets
}
