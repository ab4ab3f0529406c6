package rules_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"ftpinhole/rules"
)

// The configuration file decodes into Config as it is.
func TestConfigFromTOML(t *testing.T) {
	const text = `
[policy]
lowest_port = 2000
deny_ports = []
wait_for_2xx = true

[[policy.rule]]
clients = ["10.0.0.0/8"]
servers = ["192.0.2.1"]
modes = ["passive"]
foreign_pairs = [{peer = "10.0.0.0/8", foreign = "192.0.2.7"}]
login_required = false

[[policy.rule]]
allow = false
active_source_port = 20
pasv_address = "peer"
deny_ports_passive = true
`
	var file struct {
		Policy rules.Config `toml:"policy"`
	}
	if err := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields().Decode(&file); err != nil {
		t.Fatal(err)
	}
	want := rules.Config{
		Settings: rules.Settings{LowestPort: ptr[uint16](2000), DenyPorts: []uint16{}, WaitFor2xx: ptr(true)},
		Rules: []rules.Rule{
			{Clients: []string{"10.0.0.0/8"}, Servers: []string{"192.0.2.1"}, Settings: rules.Settings{
				Modes:         []string{"passive"},
				ForeignPairs:  []rules.ForeignPair{{Peer: "10.0.0.0/8", Foreign: "192.0.2.7"}},
				LoginRequired: ptr(false),
			}},
			{Settings: rules.Settings{Allow: ptr(false), ActiveSourcePort: ptr[uint16](20), PasvAddress: ptr("peer"), DenyPortsPassive: ptr(true)}},
		},
	}
	if diff := cmp.Diff(want, file.Policy); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	policy(t, file.Policy)
}
