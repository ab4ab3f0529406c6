package rules_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ftpinhole/rules"
)

func ptr[T any](v T) *T { return &v }

func policy(t testing.TB, c rules.Config) *rules.Policy {
	t.Helper()
	p, err := rules.NewPolicy(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// passive is a request as the strict policy allows it: client 10.0.1.2, server
// 10.0.2.2 port 21, which announced 10.0.2.2:50055.
func passive(change func(*rules.Request)) rules.Request {
	r := rules.Request{
		Client:     netip.MustParseAddr("10.0.1.2"),
		Server:     netip.MustParseAddr("10.0.2.2"),
		ServerPort: 21,
		Endpoint:   netip.MustParseAddrPort("10.0.2.2:50055"),
	}
	if change != nil {
		change(&r)
	}
	return r
}

// active is the same with PORT 10.0.1.2:40001.
func active(change func(*rules.Request)) rules.Request {
	return passive(func(r *rules.Request) {
		r.Active = true
		r.Endpoint = netip.MustParseAddrPort("10.0.1.2:40001")
		if change != nil {
			change(r)
		}
	})
}

func endpoint(s string) func(*rules.Request) {
	return func(r *rules.Request) { r.Endpoint = netip.MustParseAddrPort(s) }
}

func TestDecide(t *testing.T) {
	strict := rules.Config{ControlPorts: []uint16{21, 2121}}
	with := func(s rules.Settings) rules.Config {
		return rules.Config{ControlPorts: []uint16{21, 2121}, Settings: s}
	}
	fxp := with(rules.Settings{ForeignPairs: []rules.ForeignPair{
		{Peer: "10.0.1.0/24", Foreign: "192.0.2.7"},
	}})
	for _, test := range []struct {
		name    string
		config  rules.Config
		request rules.Request
		want    rules.Reason
	}{
		{"passive", strict, passive(nil), ""},
		{"active", strict, active(nil), ""},
		{"the zero config is strict", rules.Config{}, active(nil), ""},
		{"passive names the client", strict, passive(endpoint("10.0.1.2:50055")), rules.ForeignAddress},
		{"active names the server", strict, active(endpoint("10.0.2.2:40001")), rules.ForeignAddress},
		{"active names a third host", strict, active(endpoint("192.0.2.7:40001")), rules.ForeignAddress},
		{"no address", strict, active(func(r *rules.Request) { r.Endpoint = netip.AddrPort{} }), rules.ForeignAddress},
		{"mapped endpoint", strict, active(endpoint("[::ffff:10.0.1.2]:40001")), ""},
		{"mapped peer", strict, active(func(r *rules.Request) { r.Client = netip.MustParseAddr("::ffff:10.0.1.2") }), ""},
		{"IPv6", strict, rules.Request{
			Client: netip.MustParseAddr("2001:db8::1"), Server: netip.MustParseAddr("2001:db8::2"), ServerPort: 21,
			Extended: true, Endpoint: netip.MustParseAddrPort("[2001:db8::2]:50055"),
		}, ""},
		{"IPv4 endpoint of an IPv6 session", strict, rules.Request{
			Client: netip.MustParseAddr("2001:db8::1"), Server: netip.MustParseAddr("2001:db8::2"), ServerPort: 21,
			Endpoint: netip.MustParseAddrPort("10.0.2.2:50055"),
		}, rules.ForeignAddress},

		{"port 0", strict, passive(endpoint("10.0.2.2:0")), rules.PrivilegedPort},
		{"port 22", strict, passive(endpoint("10.0.2.2:22")), rules.PrivilegedPort},
		{"port 1023", strict, passive(endpoint("10.0.2.2:1023")), rules.PrivilegedPort},
		{"port 1024", strict, passive(endpoint("10.0.2.2:1024")), ""},
		{"port 65535", strict, passive(endpoint("10.0.2.2:65535")), ""},
		{"nfs", strict, active(endpoint("10.0.1.2:2049")), rules.DeniedPort},
		{"x11", strict, active(endpoint("10.0.1.2:6000")), rules.DeniedPort},
		{"next to x11", strict, active(endpoint("10.0.1.2:6001")), ""},
		{"irc", strict, active(endpoint("10.0.1.2:6667")), rules.DeniedPort},
		{"x11, passive", strict, passive(endpoint("10.0.2.2:6000")), ""},
		{"x11, passive, inferred", strict, passive(func(r *rules.Request) {
			r.Inferred, r.Endpoint = true, netip.MustParseAddrPort("10.0.2.2:6000")
		}), rules.DeniedPort},
		{"inferred, another port", strict, passive(func(r *rules.Request) { r.Inferred = true }), ""},
		{"x11, passive, denied there too", with(rules.Settings{DenyPortsPassive: ptr(true)}), passive(endpoint("10.0.2.2:6000")), rules.DeniedPort},
		{"own deny list, passive", with(rules.Settings{DenyPorts: []uint16{50055}}), passive(nil), ""},
		{"own deny list, passive, denied there too", with(rules.Settings{DenyPorts: []uint16{50055}, DenyPortsPassive: ptr(true)}), passive(nil), rules.DeniedPort},
		{"control port", strict, passive(endpoint("10.0.2.2:2121")), rules.DeniedPort},
		{"the session's own port", strict, passive(func(r *rules.Request) {
			r.ServerPort, r.Endpoint = 2100, netip.MustParseAddrPort("10.0.2.2:2100")
		}), rules.DeniedPort},
		{"address before port", strict, active(endpoint("192.0.2.7:22")), rules.ForeignAddress},

		{"lower lowest port", with(rules.Settings{LowestPort: ptr[uint16](989)}), passive(endpoint("10.0.2.2:989")), ""},
		{"port 0 below any lowest", with(rules.Settings{LowestPort: ptr[uint16](1)}), passive(endpoint("10.0.2.2:0")), rules.PrivilegedPort},
		{"control port above any lowest", with(rules.Settings{LowestPort: ptr[uint16](1)}), passive(endpoint("10.0.2.2:21")), rules.DeniedPort},
		{"higher lowest port", with(rules.Settings{LowestPort: ptr[uint16](50000)}), active(nil), rules.PrivilegedPort},
		{"no deny list", with(rules.Settings{DenyPorts: []uint16{}}), active(endpoint("10.0.1.2:2049")), ""},
		{"own deny list", with(rules.Settings{DenyPorts: []uint16{40001}}), active(nil), rules.DeniedPort},
		{"own deny list replaces", with(rules.Settings{DenyPorts: []uint16{40001}}), active(endpoint("10.0.1.2:2049")), ""},
		{"control port without deny list", with(rules.Settings{DenyPorts: []uint16{}}), passive(endpoint("10.0.2.2:2121")), rules.DeniedPort},

		{"passive only, active", with(rules.Settings{Modes: []string{"passive"}}), active(nil), rules.ModeNotAllowed},
		{"passive only, passive", with(rules.Settings{Modes: []string{"passive"}}), passive(nil), ""},
		{"active only, passive", with(rules.Settings{Modes: []string{"active"}}), passive(nil), rules.ModeNotAllowed},
		{"nobody", with(rules.Settings{Allow: ptr(false)}), passive(nil), rules.PeerNotAllowed},

		{"local client, passive", strict, passive(func(r *rules.Request) { r.ClientLocal = true }), ""},
		{"local client, active", strict, active(func(r *rules.Request) { r.ClientLocal = true }), rules.ModeNotAllowed},
		{"local client, active, allowed", rules.Config{LocalActive: true}, active(func(r *rules.Request) { r.ClientLocal = true }), ""},

		{"FXP, listed", fxp, active(endpoint("192.0.2.7:40001")), ""},
		{"FXP, own address still", fxp, active(nil), ""},
		{"FXP, other foreign host", fxp, active(endpoint("192.0.2.8:40001")), rules.ForeignAddress},
		{"FXP, other peer", fxp, passive(endpoint("192.0.2.7:40001")), rules.ForeignAddress},
		{"FXP, port still counts", fxp, active(endpoint("192.0.2.7:22")), rules.PrivilegedPort},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := policy(t, test.config).Decide(test.request); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// The first rule that matches both peers counts, and what it does not set
// comes from the defaults.
func TestRules(t *testing.T) {
	p := policy(t, rules.Config{
		Settings: rules.Settings{LowestPort: ptr[uint16](2000), WaitFor2xx: ptr(true), PasvAddress: ptr("peer")},
		Rules: []rules.Rule{
			{Clients: []string{"10.0.1.66"}, Settings: rules.Settings{Allow: ptr(false)}},
			{Clients: []string{"10.0.1.0/24"}, Servers: []string{"10.0.2.2", "2001:db8::2"}, Settings: rules.Settings{
				Modes: []string{"passive"}, LoginRequired: ptr(false), ActiveSourcePort: ptr[uint16](20),
			}},
			{Clients: []string{"10.0.1.2"}, Settings: rules.Settings{LowestPort: ptr[uint16](40000), WaitFor2xx: ptr(false), PasvAddress: ptr("own")}},
		},
	})
	for _, test := range []struct {
		name    string
		request rules.Request
		want    rules.Reason
		terms   rules.Terms
	}{
		{"first rule", passive(func(r *rules.Request) { r.Client = netip.MustParseAddr("10.0.1.66") }), rules.PeerNotAllowed,
			rules.Terms{LoginRequired: true, WaitFor2xx: true, PasvPeer: true}},
		{"second rule", active(nil), rules.ModeNotAllowed,
			rules.Terms{WaitFor2xx: true, ActiveSourcePort: 20, PasvPeer: true}},
		{"second rule, mapped client", active(func(r *rules.Request) { r.Client = netip.MustParseAddr("::ffff:10.0.1.2") }), rules.ModeNotAllowed,
			rules.Terms{WaitFor2xx: true, ActiveSourcePort: 20, PasvPeer: true}},
		{"second rule, default lowest port", passive(endpoint("10.0.2.2:1999")), rules.PrivilegedPort,
			rules.Terms{WaitFor2xx: true, ActiveSourcePort: 20, PasvPeer: true}},
		{"third rule, since the second's server is another", active(func(r *rules.Request) {
			r.Server = netip.MustParseAddr("10.0.2.3")
			r.Endpoint = netip.MustParseAddrPort("10.0.1.2:39999")
		}), rules.PrivilegedPort, rules.Terms{LoginRequired: true}},
		{"no rule", active(func(r *rules.Request) {
			r.Client = netip.MustParseAddr("10.0.9.9")
			r.Endpoint = netip.MustParseAddrPort("10.0.9.9:2000")
		}), "", rules.Terms{LoginRequired: true, WaitFor2xx: true, PasvPeer: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := p.Decide(test.request); got != test.want {
				t.Errorf("decision: got %q, want %q", got, test.want)
			}
			if got := p.Terms(test.request.Client, test.request.Server); got != test.terms {
				t.Errorf("terms: got %+v, want %+v", got, test.terms)
			}
		})
	}
	if !p.ActiveSourcePorts() {
		t.Error("a rule names a source port, but the policy says that none does")
	}
	if policy(t, rules.Config{}).ActiveSourcePorts() {
		t.Error("the default policy says that it names a source port")
	}
}

// A rule says for its servers alone that the ports are denied in passive mode.
func TestRuleDeniesPortsInPassiveMode(t *testing.T) {
	p := policy(t, rules.Config{Rules: []rules.Rule{
		{Servers: []string{"10.0.2.3"}, Settings: rules.Settings{DenyPortsPassive: ptr(true)}},
	}})
	for server, want := range map[string]rules.Reason{"10.0.2.2": "", "10.0.2.3": rules.DeniedPort} {
		r := passive(func(r *rules.Request) {
			r.Server = netip.MustParseAddr(server)
			r.Endpoint = netip.AddrPortFrom(r.Server, 6667)
		})
		if got := p.Decide(r); got != want {
			t.Errorf("%s: got %q, want %q", server, got, want)
		}
	}
}

// A rule's address takes the place of [policy]'s as a whole.
func TestTermsOfAddresses(t *testing.T) {
	p := policy(t, rules.Config{
		Settings: rules.Settings{PasvAddress: ptr("peer"), PortAddress: ptr("keep")},
		Rules: []rules.Rule{
			{Servers: []string{"10.0.2.3"}, Settings: rules.Settings{PasvAddress: ptr("keep"), PortAddress: ptr("own")}},
			{Servers: []string{"10.0.2.4"}, Settings: rules.Settings{PasvAddress: ptr("own")}},
		},
	})
	for server, want := range map[string]rules.Terms{
		"10.0.2.2": {LoginRequired: true, PasvPeer: true, PortKeep: true},
		"10.0.2.3": {LoginRequired: true, PasvKeep: true},
		"10.0.2.4": {LoginRequired: true, PortKeep: true},
	} {
		if got := p.Terms(netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr(server)); got != want {
			t.Errorf("%s: got %+v, want %+v", server, got, want)
		}
	}
}

// TestLaw5Policy: whatever is asked, the strict policy opens only the
// announcing peer's own address, and no port that is privileged or control's.
func TestLaw5Policy(t *testing.T) {
	p := policy(t, rules.Config{ControlPorts: []uint16{21, 2121}})
	addrs := []netip.Addr{
		netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("10.0.2.2"), netip.MustParseAddr("127.0.0.1"),
		netip.MustParseAddr("::ffff:10.0.1.2"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), {},
	}
	ports := []uint16{0, 1, 20, 21, 22, 1023, 1024, 2121, 2049, 6000, 10080, 40000, 65535}
	rapid.Check(t, func(t *rapid.T) {
		addr, port := rapid.SampledFrom(addrs), rapid.OneOf(rapid.SampledFrom(ports), rapid.Uint16())
		r := rules.Request{
			Client: addr.Draw(t, "client"), Server: addr.Draw(t, "server"), ServerPort: port.Draw(t, "server port"),
			Active: rapid.Bool().Draw(t, "active"), Inferred: rapid.Bool().Draw(t, "inferred"), ClientLocal: rapid.Bool().Draw(t, "local"),
			Endpoint: netip.AddrPortFrom(addr.Draw(t, "endpoint"), port.Draw(t, "port")),
		}
		own := r.Server
		if r.Active {
			own = r.Client
		}
		got := r.Endpoint.Port()
		bad := r.Endpoint.Addr().Unmap() != own.Unmap() || !own.IsValid() || got < 1024 || got == 2121 ||
			got == r.ServerPort || (r.Active || r.Inferred) && slices.Contains(rules.DefaultDenyPorts(), got) || r.ClientLocal && r.Active
		if allowed := p.Decide(r) == ""; allowed == bad {
			t.Fatalf("%+v: allowed %v", r, allowed)
		}
	})
}

func TestNewPolicyErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		config rules.Config
		want   []string
	}{
		{"mode", rules.Config{Settings: rules.Settings{Modes: []string{"pasive"}}},
			[]string{"policy.modes", `"pasive"`, `write "active", "passive" or both`}},
		{"no mode", rules.Config{Settings: rules.Settings{Modes: []string{}}},
			[]string{"policy.modes", "allow = false"}},
		{"lowest port", rules.Config{Settings: rules.Settings{LowestPort: ptr[uint16](0)}},
			[]string{"policy.lowest_port", "1 to 65535"}},
		{"client", rules.Config{Rules: []rules.Rule{{}, {Clients: []string{"10.0.0.0/8", "10.0.0"}}}},
			[]string{"policy.rule[1].clients[1]", `"10.0.0"`, "192.0.2.0/24"}},
		{"server, host bits", rules.Config{Rules: []rules.Rule{{Servers: []string{"10.0.0.1/24"}}}},
			[]string{"policy.rule[0].servers[0]", "10.0.0.0/24", "10.0.0.1 for the host"}},
		{"mapped prefix", rules.Config{Rules: []rules.Rule{{Servers: []string{"::ffff:10.0.0.0/104"}}}},
			[]string{"policy.rule[0].servers[0]", "neither"}},
		{"zone", rules.Config{Rules: []rules.Rule{{Servers: []string{"fe80::1%eth0"}}}},
			[]string{"policy.rule[0].servers[0]", "neither"}},
		{"pair", rules.Config{Settings: rules.Settings{ForeignPairs: []rules.ForeignPair{{Peer: "10.0.0.1", Foreign: ""}}}},
			[]string{"policy.foreign_pairs[0].foreign", `""`}},
		{"pair of two families", rules.Config{Settings: rules.Settings{ForeignPairs: []rules.ForeignPair{{Peer: "10.0.0.1", Foreign: "::/0"}}}},
			[]string{"policy.foreign_pairs[0]", "different families"}},
		{"address of a 227", rules.Config{Settings: rules.Settings{PasvAddress: ptr("any")}},
			[]string{"policy.pasv_address", `"any"`, `write "own", "peer" or "keep"`}},
		{"address of PORT", rules.Config{Rules: []rules.Rule{{Settings: rules.Settings{PortAddress: ptr("peer")}}}},
			[]string{"policy.rule[0].port_address", `"peer"`, `write "own" or "keep"`}},
		{"several at once", rules.Config{
			Settings: rules.Settings{LowestPort: ptr[uint16](0)},
			Rules:    []rules.Rule{{Settings: rules.Settings{Modes: []string{"x"}}}},
		}, []string{"policy.lowest_port", "policy.rule[0].modes"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := rules.NewPolicy(test.config)
			if err == nil || p != nil {
				t.Fatalf("got policy %v, error %v", p, err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// A policy does not change when the Config that it was made from does.
func TestPolicyIsCopied(t *testing.T) {
	c := rules.Config{ControlPorts: []uint16{2121}, Settings: rules.Settings{DenyPorts: []uint16{40001}}}
	p := policy(t, c)
	c.ControlPorts[0], c.DenyPorts[0] = 1, 1
	if got := p.Decide(active(nil)); got != rules.DeniedPort {
		t.Errorf("got %q", got)
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	p := policy(t, rules.Config{Rules: []rules.Rule{{Clients: []string{"10.9.0.0/16"}}}})
	r := active(nil)
	if n := testing.AllocsPerRun(100, func() { p.Decide(r); p.Terms(r.Client, r.Server) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPinholeKey(t *testing.T) {
	p := rules.Pinhole{ID: "a", Src: netip.MustParseAddr("10.0.1.2"), Dst: netip.MustParseAddrPort("10.0.2.2:50055")}
	q := p
	q.ID, q.Timeout = "b", 1
	if p.Key() != q.Key() {
		t.Error("name and time are part of the key")
	}
	q.SrcPort = 20
	if p.Key() == q.Key() {
		t.Error("the source port is not part of the key")
	}
}
