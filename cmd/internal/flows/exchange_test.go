package flows

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// message is one netlink message as the kernel lays it out.
func message(typ, flags uint16, seq uint32, data []byte) []byte {
	b := make([]byte, 16, 16+len(data)+3)
	binary.NativeEndian.PutUint32(b, uint32(16+len(data)))
	binary.NativeEndian.PutUint16(b[4:], typ)
	binary.NativeEndian.PutUint16(b[6:], flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func flowMessage(t testing.TB, f Flow) []byte {
	m, err := request(0, 0, family(f.Client.Addr()), putFlow(f, true))
	if err != nil {
		t.Fatal(err)
	}
	return m.Data
}

func errnoData(e unix.Errno) []byte {
	b := make([]byte, 20)
	binary.NativeEndian.PutUint32(b, uint32(-int32(e)))
	return b
}

func TestAnswer(t *testing.T) {
	f := Flow{Client: netip.MustParseAddrPort("10.0.0.1:40000"), Server: netip.MustParseAddrPort("10.0.0.2:21"), ID: 7}
	const ctNew = 1 << 8
	flow := flowMessage(t, f)
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for _, tt := range []struct {
		name  string
		in    []byte
		flows int
		done  bool
		err   error
	}{
		{"acknowledged", message(unix.NLMSG_ERROR, 0, 1, errnoData(0)), 0, true, nil},
		{"refused", message(unix.NLMSG_ERROR, 0, 1, errnoData(unix.ENOENT)), 0, true, unix.ENOENT},
		{"end of dump", message(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, errnoData(0)[:4]), 0, true, nil},
		{"end without a number", message(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, nil), 0, true, nil},
		{"dump that failed", message(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, errnoData(unix.EINTR)[:4]), 0, true, unix.EINTR},
		{"flow, more to come", message(ctNew, unix.NLM_F_MULTI, 1, flow), 1, false, nil},
		{"two flows and the end", join(message(ctNew, 2, 1, flow), message(ctNew, 2, 1, flow), message(unix.NLMSG_DONE, 2, 1, nil)), 2, true, nil},
		{"another request's", join(message(ctNew, 2, 9, flow), message(unix.NLMSG_ERROR, 0, 9, errnoData(unix.EPERM))), 0, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n int
			done, err := answer(tt.in, 1, func(got Flow) {
				n++
				if got.Client != f.Client || got.Server != f.Server || got.ID != f.ID {
					t.Errorf("flow %+v, want %+v", got, f)
				}
			})
			if n != tt.flows || done != tt.done || !errors.Is(err, tt.err) {
				t.Errorf("%d flows, done %v, %v; want %d, %v, %v", n, done, err, tt.flows, tt.done, tt.err)
			}
		})
	}
}

// What claims to be a flow is TCP and has its addresses; nothing panics.
func FuzzAnswer(f *testing.F) {
	v4 := Flow{Client: netip.MustParseAddrPort("10.0.0.1:40000"), Server: netip.MustParseAddrPort("10.0.0.2:21"), ID: 7, Zone: 3}
	v6 := Flow{Client: netip.MustParseAddrPort("[fd00::1]:40000"), Server: netip.MustParseAddrPort("[fd00::2]:21")}
	f.Add(message(1<<8, 2, 1, flowMessage(f, v4)))
	f.Add(message(1<<8|2, 0, 1, flowMessage(f, v6)))
	f.Add(message(unix.NLMSG_ERROR, 0, 1, errnoData(unix.EPERM)))
	f.Fuzz(func(t *testing.T, b []byte) {
		done, err := answer(b, 1, func(f Flow) {
			if !f.Client.IsValid() || !f.Server.IsValid() {
				t.Errorf("no whole original tuple: %+v", f)
			}
		})
		if done && err != nil && !errors.As(err, new(refusal)) {
			t.Errorf("done with %v", err)
		}
	})
}

func TestStateWords(t *testing.T) {
	for s, want := range map[State]string{None: "NONE", SynSent: "SYN_SENT", TimeWait: "TIME_WAIT", SynSent2: "SYN_SENT2", 77: "UNKNOWN"} {
		if got := s.String(); got != want {
			t.Errorf("state %d is %q, want %q", s, got, want)
		}
	}
}
