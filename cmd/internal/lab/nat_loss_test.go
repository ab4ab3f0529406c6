package lab_test

import (
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// Must hold: with 2% random loss in both directions transfers complete and
// nothing is corrupted, wherever the packets are lost.
func TestNATWithLoss(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"before", "between", "after"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			n := lab.NAT{Kind: "both", Length: "longer"}
			l, _ := translated(t, n)
			l.Loss(where)
			for _, family := range []int{4, 6} {
				p := loginPair(t, l, n, n.Ends(family))
				rewrites(t, p, 60)
				if err := p.end(); err != nil {
					t.Error(err)
				}
			}
			l.StartServer("vsftpd", lab.Server)
			natTransfers(t, l, n, lab.Variants(), lab.Programs()[:1], lab.Ops()...)
			lost, err := l.Lost()
			if err != nil || lost == 0 {
				t.Errorf("%d packets were lost (%v), want some", lost, err)
			}
			t.Logf("%d packets were lost", lost)
			noneInvalid(t, l)
		})
	}
}
