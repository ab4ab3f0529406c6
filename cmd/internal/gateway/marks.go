package gateway

import (
	"log/slog"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/rules"
)

// marks finds what the operator's rules have put into the marks of control
// connections, for their data connections: where there are several uplinks, both
// have to take the same (the kernel gives an expected connection its master's).
type marks struct {
	kernel Conntrack
	ours   uint32 // bits that are not the operator's
	log    *slog.Logger
}

// inherited is the operator's part of a control connection's mark, and 0 if that
// is not known: its pinhole opens all the same.
func (m *marks) inherited(control rules.Tuple) uint32 {
	if m == nil || !control.Src.IsValid() || !control.Dst.IsValid() {
		return 0
	}
	f, ok, err := m.kernel.Get(flows.Flow{Client: control.Src, Server: control.Dst})
	if err != nil {
		m.log.Warn("the mark of a control connection could not be read; its data connection has none of it",
			"client", control.Src, "server", control.Dst, "err", err)
	}
	if err != nil || !ok {
		return 0
	}
	return f.Mark &^ m.ours
}
