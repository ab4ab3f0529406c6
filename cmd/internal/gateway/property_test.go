package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/conntrack"
	"ftpinhole/rules"

	"pgregory.net/rapid"
)

// Whatever the clients do and however the kernel behaves, each pinhole of the
// records is opened once, used at most once and closed once, in this order; no
// more connections come through than pinholes were opened; and at the end the
// kernel holds none, and nothing is kept of any session.
func TestLaw7EachOpenHasOneCloseWhateverHappens(t *testing.T) {
	words := []string{
		"pasv 0", "pasv 1", "port 0", "port 1", "refuse 0", "quit 0", "abort 1", "again 0", "again 1",
		"syn 0", "syn 1", "dropped 0", "dropped 1", "answer", "over", "forget", "older", "lost", "heard", "overrun",
		"hang", "resume", "fail", "mend", "operator", "tick", "second", "minute",
		// A session whose lines are rewritten.
		"pasv 2", "port 2", "port 2", "half 2", "rest 2", "refuse 2", "abort 2", "again 2", "vanish 1", "vanish 2", "unknown", "known",
		// More of what it takes to come to a second connection.
		"pasv 0", "pasv 0", "dropped 0", "syn 0", "syn 0", "syn 0", "second", "second", "second", "lost",
	}
	rapid.Check(t, func(rt *rapid.T) {
		script := rapid.SliceOfN(rapid.SampledFrom(words), 20, 60).Draw(rt, "script")
		var wrong string
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t)
			for _, word := range script {
				p.act(word)
			}
			wrong = p.end()
		})
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// came is the pinhole that a connection came through. It is sure if none came
// before that the next one could be taken for.
type came struct {
	hole string
	sure bool
}

// play is two sessions between the same two hosts, with the same few ports, and
// one of a host behind NAT.
type play struct {
	*rig
	sessions [3]*dialogue
	nextPort uint16
	flows    []flows.Flow            // data connections, latest last
	deaf     bool                    // events get lost
	heard    map[uint16]came         // connections whose beginning was told, by source port
	unseen   map[netip.AddrPort]bool // a SYN came that nothing tells of, by where it led
	passed   map[netip.AddrPort]int  // connections that came through, by where they lead
	vanished bool                    // one left conntrack that nobody told of: sooner than the kernel lets go of any
}

func newPlay(t *testing.T) *play {
	p := &play{rig: newRig(t, nil), nextPort: 51000, heard: map[uint16]came{}, unseen: map[netip.AddrPort]bool{}, passed: map[netip.AddrPort]int{}}
	p.nat.behind = netip.MustParseAddr("10.0.1.3")
	for i := range p.sessions {
		p.begin(i)
	}
	return p
}

// begin begins a session in the place of one.
func (p *play) begin(i int) {
	p.nextPort++
	p.sessions[i] = p.dialFrom([...]string{"10.0.1.2", "10.0.1.2", "10.0.1.3"}[i], p.nextPort)
}

func (p *play) act(word string) {
	verb, arg, _ := strings.Cut(word, " ")
	n, _ := strconv.Atoi(arg)
	d := p.sessions[n]
	switch verb {
	case "pasv":
		d.c("PASV")
		d.s(entering)
	case "port":
		d.c("PORT " + d.announced())
	case "half":
		d.part("PORT " + d.announced()[:7])
	case "rest":
		d.part(d.announced()[7:] + "\r\n")
	case "refuse":
		d.s("500 no")
	case "quit":
		d.c("QUIT")
		d.s("221 bye")
	case "abort":
		d.raw(true, conntrack.RST|conntrack.ACK, "")
	case "again":
		p.begin(n)
	case "vanish":
		p.tell(flows.Destroy, flows.Flow{Client: d.client, Server: d.server, ReplySrc: d.server, ReplyDst: d.client, Mark: controlMark})
	case "syn":
		if hole, ok := p.through(n == 1); ok {
			p.connect(hole)
		}
	case "dropped": // by another rule
		if hole, ok := p.through(n == 1); ok {
			p.unseen[hole.Dst] = true
		}
	case "answer", "over", "forget":
		p.vanished = p.vanished || verb == "forget" && p.deaf
		p.progress(verb)
	case "older": // an event of a connection that nobody knows
		f := data(flows.TimeWait)
		f.ID, f.Client = 1, netip.AddrPortFrom(f.Client.Addr(), 999)
		p.event(flows.Update, f)
	case "lost":
		p.deaf = true
	case "heard":
		p.deaf = false
	case "overrun":
		p.tell(flows.Overrun, flows.Flow{})
	case "hang":
		p.backend.release()
		p.backend.hang()
	case "resume":
		p.backend.release()
	case "unknown": // how a session is translated
		p.nat.stop()
	case "known":
		p.nat.release()
	case "fail", "mend":
		p.backend.mu.Lock()
		p.backend.fail = nil
		if verb == "fail" {
			p.backend.fail = errors.New("no")
		}
		p.backend.mu.Unlock()
	case "operator":
		p.shard.ask(func(now time.Time) {
			p.shard.shut(now, func(conntrack.PinholeState) bool { return true })
		})
	case "tick":
		time.Sleep(tick)
	case "second":
		time.Sleep(time.Second)
	case "minute":
		time.Sleep(time.Minute)
	}
	synctest.Wait()
}

// through lets a SYN through a pinhole, if the kernel has one that none has
// come through.
func (p *play) through(active bool) (rules.Pinhole, bool) {
	p.backend.mu.Lock()
	defer p.backend.mu.Unlock()
	for id, hole := range p.backend.inKernel {
		if p.backend.came[id] || time.Now().After(p.backend.until[id]) || (hole.Src == netip.MustParseAddr("10.0.2.2")) != active {
			continue
		}
		if p.backend.came == nil {
			p.backend.came = map[string]bool{}
		}
		p.backend.came[id] = true
		return hole, true
	}
	return rules.Pinhole{}, false
}

func (p *play) connect(hole rules.Pinhole) {
	p.nextPort++
	p.passed[hole.Dst]++
	f := data(flows.SynSent)
	f.Client, f.Server, f.ID = netip.AddrPortFrom(hole.Src, p.nextPort), hole.Dst, uint32(p.nextPort)
	f.ReplySrc, f.ReplyDst = f.Server, f.Client
	if hole.Outside.IsValid() {
		f.Server = hole.Outside
	}
	if hole.SeenAs.IsValid() {
		f.ReplyDst = netip.AddrPortFrom(hole.SeenAs, p.nextPort)
	}
	f = p.kernel.put(f)
	p.flows = append(p.flows, f)
	if p.deaf {
		p.unseen[hole.Dst] = true
	} else {
		p.heard[p.nextPort] = came{hole.ID, !p.unseen[hole.Dst]}
	}
	p.event(flows.New, f)
}

// progress leads the oldest data connection on.
func (p *play) progress(verb string) {
	if len(p.flows) == 0 {
		return
	}
	f := &p.flows[0]
	p.kernel.mu.Lock()
	_, there := p.kernel.have[connection{f.Client, f.Server}]
	p.kernel.mu.Unlock()
	if !there { // killed
		p.flows = p.flows[1:]
		return
	}
	switch verb {
	case "answer":
		f.State = flows.Established
	case "over":
		f.State = flows.TimeWait
	case "forget":
		if err := p.kernel.Delete(*f); err != nil {
			p.t.Error(err)
		}
		p.event(flows.Destroy, *f)
		p.flows = p.flows[1:]
		return
	}
	p.event(flows.Update, p.kernel.put(*f))
}

func (p *play) event(kind flows.Kind, f flows.Flow) {
	if !p.deaf {
		p.tell(kind, f)
	}
}

// end lets the kernel come to rest and says what is wrong with the records.
func (p *play) end() string {
	p.act("mend")
	p.act("resume")
	p.act("known")
	for len(p.flows) > 0 {
		p.progress("forget")
	}
	time.Sleep(2 * time.Minute) // what waits has its time, and conntrack is asked
	synctest.Wait()
	if n := p.shard.tracker.Counts(); n.Pinholes+n.Data > 0 {
		return fmt.Sprintf("the tracker still holds %+v", n)
	}
	p.backend.mu.Lock()
	left := len(p.backend.inKernel)
	p.backend.mu.Unlock()
	if left > 0 {
		return fmt.Sprintf("the kernel still holds %d pinholes", left)
	}
	for _, s := range p.shard.tracker.Sessions() {
		p.tell(flows.Destroy, flows.Flow{Client: s.Client, Server: s.Server, ReplySrc: s.Server, ReplyDst: s.Client, Mark: controlMark})
	}
	p.later(25 * time.Hour)
	time.Sleep(3 * time.Minute) // nothing of them is sent again any more
	synctest.Wait()
	if files, err := p.keeper.dir.Load(); err != nil || len(p.keeper.have)+len(p.table.have)+len(files) > 0 {
		return fmt.Sprintf("%d sessions, %d directions in the kernel and %d files are kept (%v)", len(p.keeper.have), len(p.table.have), len(files), err)
	}
	return p.judge()
}

// announced is where the client listens, in the words of PORT.
func (d *dialogue) announced() string {
	return strings.ReplaceAll(d.client.Addr().String(), ".", ",") + ",195,81"
}

func (p *play) judge() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	stories := map[string][]conntrack.Action{}
	uses := map[uint16][]string{} // pinholes by the source port of what used them
	opens := map[netip.AddrPort]int{}
	for _, r := range p.records {
		if r.Action == conntrack.Use {
			uses[r.Pinhole.SrcPort] = append(uses[r.Pinhole.SrcPort], r.Pinhole.ID)
		}
		if r.Action == conntrack.Open || r.Reason == conntrack.KernelError { // which may have come late
			opens[r.Pinhole.Dst]++
		}
		if id := r.Pinhole.ID; id != "" {
			stories[id] = append(stories[id], r.Action)
		}
	}
	legal := [][]conntrack.Action{
		{conntrack.Open, conntrack.Close}, {conntrack.Open, conntrack.Use, conntrack.Close}, {conntrack.Deny},
	}
	for id, story := range stories {
		if !slices.ContainsFunc(legal, func(l []conntrack.Action) bool { return slices.Equal(l, story) }) {
			return fmt.Sprintf("the records of %s are %v", id, story)
		}
	}
	for dst, n := range p.passed { // law 4
		if n > opens[dst] && !p.vanished {
			return fmt.Sprintf("%d connections came through %d pinholes to %v", n, opens[dst], dst)
		}
	}
	for port, c := range p.heard {
		used := uses[port]
		switch {
		case slices.Equal(stories[c.hole], []conntrack.Action{conntrack.Deny}): // given up before the kernel opened it
		case len(used) != 1:
			return fmt.Sprintf("the connection from port %d has %d records of its use", port, len(used))
		case c.sure && used[0] != c.hole:
			return fmt.Sprintf("the connection from port %d came through %s, and is recorded as the use of %s", port, c.hole, used[0])
		}
	}
	return ""
}
