package audit

import (
	"net/netip"
	"testing"
	"time"

	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	tests := []struct {
		name   string
		change func(r *conntrack.Record)
		want   string
	}{
		{"open", func(*conntrack.Record) {},
			`2026-11-20T10:00:00.123Z pinhole open 10.0.1.2:40000 > 10.0.2.2:21 passive PASV lets 10.0.1.2 > 10.0.2.2:50055 user="anonymous" RETR "/pub/a.bin" id=7b-1`},
		{"close", func(r *conntrack.Record) {
			r.Action, r.Reason, r.Pinhole.SrcPort = conntrack.Close, conntrack.Finished, 51000
			r.Counted, r.BytesToClient, r.Duration, r.Transfer = true, 42, time.Second, ""
		}, `2026-11-20T10:00:00.123Z pinhole close finished 10.0.1.2:40000 > 10.0.2.2:21 passive PASV lets 10.0.1.2:51000 > 10.0.2.2:50055 user="anonymous" toserver=0B toclient=42B duration=1s id=7b-1`},
		{"deny with wire text", func(r *conntrack.Record) {
			r.Action, r.Reason, r.Pinhole, r.User, r.Path = conntrack.Deny, conntrack.Malformed, conntrack.Pinhole{}, "\x1b[31m", "a\nb"
			r.Count = 9
		}, `2026-11-20T10:00:00.123Z pinhole deny malformed 10.0.1.2:40000 > 10.0.2.2:21 passive PASV user="\x1b[31m" RETR "a\nb" count=9`},
		{"translated", func(r *conntrack.Record) {
			r.Pinhole.Outside, r.Pinhole.SeenAs = netip.MustParseAddrPort("198.51.100.7:50056"), netip.MustParseAddr("10.0.2.1")
			r.User, r.Transfer = "", ""
		}, `2026-11-20T10:00:00.123Z pinhole open 10.0.1.2:40000 > 10.0.2.2:21 passive PASV lets 10.0.1.2 > 10.0.2.2:50055 outside=198.51.100.7:50056 seen_as=10.0.2.1 id=7b-1`},
		{"reconstructed", func(r *conntrack.Record) { r.Reconstructed, r.User, r.Transfer = true, "", "" },
			`2026-11-20T10:00:00.123Z pinhole open 10.0.1.2:40000 > 10.0.2.2:21 passive PASV lets 10.0.1.2 > 10.0.2.2:50055 (reconstructed) id=7b-1`},
		{"end", func(r *conntrack.Record) {
			*r = conntrack.Record{Time: r.Time, Action: conntrack.End, Reason: conntrack.Reset, Client: r.Client, Server: r.Server,
				Pinholes: 2, Denied: 1, Duration: time.Minute, Encrypted: true, Conflicts: 1}
		}, `2026-11-20T10:00:00.123Z session end rst 10.0.1.2:40000 > 10.0.2.2:21 pinholes=2 denied=1 duration=1m0s encrypted conflicts=1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := opened()
			tt.change(&r)
			if diff := cmp.Diff(tt.want, Text(&r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
