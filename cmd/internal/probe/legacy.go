package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// legacyFamily is one of the two old iptables (ip_tables, ip6_tables), which keep
// tables that netlink does not show. Sizes and offsets are those of struct
// ipt_entry and ip6t_entry (include/uapi/linux/netfilter_ipv4/ip_tables.h and
// netfilter_ipv6/ip6_tables.h), on 64-bit machines.
type legacyFamily struct {
	family        uint8
	tool, names   string // the program, and the file with the tables that there are
	domain, level int
	masks         [2]int // from the address masks on, to the interfaces
	devices       [2]int // the interface masks
	proto, flags  int    // what comes after them; the inversions follow the flags
	protoFlag     byte   // without this flag proto means nothing; 0: it needs none
	gotoFlag      byte
	offsets       int // target_offset and next_offset
	size          int
}

func legacyFamilies() []legacyFamily {
	return []legacyFamily{
		{unix.NFPROTO_IPV4, "iptables-legacy", "ip_tables_names", unix.AF_INET, unix.IPPROTO_IP,
			[2]int{8, 16}, [2]int{48, 80}, 80, 82, 0, 2, 88, 112},
		{unix.NFPROTO_IPV6, "ip6tables-legacy", "ip6_tables_names", unix.AF_INET6, unix.IPPROTO_IPV6,
			[2]int{32, 64}, [2]int{96, 128}, 128, 131, 1, 4, 140, 168},
	}
}

// legacyInfo is struct ipt_getinfo.
type legacyInfo struct {
	name              [32]byte
	hooks             uint32
	entry, underflow  [5]uint32 // where the chain of a hook begins, and its policy
	entries, sizeofIt uint32
}

// addLegacy adds the tables of the old iptables, as far as there are any: they
// are not made by being asked for.
func (rs *ruleset) addLegacy() {
	for _, l := range legacyFamilies() {
		names, err := os.ReadFile("/proc/thread-self/net/" + l.names)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			rs.unread = append(rs.unread, Row{Level: Warning, Detail: fmt.Sprintf("only root sees whether %s has rules", l.tool),
				Mend: "check once as root"})
			continue
		}
		for _, table := range strings.Fields(string(names)) {
			info, entries, err := l.read(table)
			if err == nil {
				err = rs.addLegacyTable(l, table, info, entries)
			}
			if err != nil {
				rs.unread = append(rs.unread, Row{Level: Warning, Detail: fmt.Sprintf("table %s of %s could not be read: %v", table, l.tool, err),
					Mend: "look at it yourself: " + l.tool + "-save"})
			}
		}
	}
}

// read asks the kernel for a table, as iptables does.
func (l legacyFamily) read(table string) (legacyInfo, []byte, error) {
	const (
		getInfo    = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO
		getEntries = 65 // IPT_SO_GET_ENTRIES, IP6T_SO_GET_ENTRIES
		header     = 40 // of struct ipt_get_entries: name, size, and room up to eight bytes
		most       = 64 << 20
	)
	fd, err := unix.Socket(l.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return legacyInfo{}, nil, err
	}
	defer unix.Close(fd)
	for range 10 { // it may change between the two questions: EAGAIN
		var info legacyInfo
		if len(table) >= len(info.name) {
			return info, nil, unix.ENAMETOOLONG
		}
		copy(info.name[:], table)
		if err := getsockopt(fd, l.level, getInfo, unsafe.Pointer(&info), unsafe.Sizeof(info)); err != nil {
			return info, nil, err
		}
		if info.sizeofIt > most {
			return info, nil, fmt.Errorf("%d bytes of rules", info.sizeofIt)
		}
		b := make([]byte, header+int(info.sizeofIt))
		copy(b, table)
		*(*uint32)(unsafe.Pointer(&b[32])) = info.sizeofIt
		if err = getsockopt(fd, l.level, getEntries, unsafe.Pointer(&b[0]), uintptr(len(b))); err == nil {
			return info, b[header:], nil
		}
		if !errors.Is(err, unix.EAGAIN) {
			return info, nil, err
		}
	}
	return legacyInfo{}, nil, unix.EAGAIN
}

func getsockopt(fd, level, name int, value unsafe.Pointer, size uintptr) error {
	n := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(value), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
