package lab_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// segment is a TCP segment with its IP header.
type segment struct {
	ip, tcp  []byte // tcp to the end of the payload
	source   uint16 // ports
	dest     uint16
	payload  []byte
	version6 bool
}

// dissect takes an Ethernet frame apart; false if it has no TCP.
func dissect(frame []byte) (s segment, ok bool) {
	if len(frame) < 14 {
		return s, false
	}
	packet := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800: // RFC 791
		length := int(packet[0]&15) * 4
		if packet[9] != 6 {
			return s, false
		}
		s.ip, s.tcp = packet[:length], packet[length:binary.BigEndian.Uint16(packet[2:])]
	case 0x86dd: // RFC 8200, without extension headers
		if packet[6] != 6 {
			return s, false
		}
		s.version6, s.ip, s.tcp = true, packet[:40], packet[40:40+int(binary.BigEndian.Uint16(packet[4:]))]
	default:
		return s, false
	}
	s.source, s.dest = binary.BigEndian.Uint16(s.tcp), binary.BigEndian.Uint16(s.tcp[2:])
	s.payload = s.tcp[int(s.tcp[12]>>4)*4:]
	return s, true
}

// wrong says which checksum is not as RFC 791, RFC 9293 and RFC 8200 8.1 have
// it: with it, everything adds up to 0xffff.
func (s segment) wrong() error {
	addresses := s.ip[8:]
	if !s.version6 {
		if sum(s.ip) != 0xffff {
			return fmt.Errorf("IP header: %x", s.ip)
		}
		addresses = s.ip[12:20]
	}
	pseudo := append([]byte(nil), addresses...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(s.tcp)))
	pseudo = append(pseudo, 0, 0, 0, 6)
	if sum(pseudo, s.tcp) != 0xffff {
		return fmt.Errorf("TCP: %d to %d, %.60q", s.source, s.dest, s.payload)
	}
	return nil
}

// sum is the ones' complement sum of RFC 1071; all texts but the last have even
// lengths.
func sum(texts ...[]byte) uint32 {
	var total uint32
	for _, text := range texts {
		for len(text) >= 2 {
			total += uint32(text[0])<<8 | uint32(text[1])
			text = text[2:]
		}
		if len(text) == 1 {
			total += uint32(text[0]) << 8
		}
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return total
}

// Must hold: checksums are right in every rewritten packet, also where a burst
// of lines is larger than a segment and came to the gateway in one piece. The
// gateway has no network card that would put them right.
func TestNATChecksums(t *testing.T) {
	t.Parallel()
	for _, length := range []string{"same", "longer"} {
		t.Run(length, func(t *testing.T) {
			t.Parallel()
			n := lab.NAT{Kind: "both", Length: length}
			l, _ := translated(t, n)
			finishChecksums(t, l)
			atClient, atServer := newCapture(t, l, lab.Client), newCapture(t, l, lab.Server)
			arrive := make(map[lab.Where][]string) // announcements, as they must
			for _, family := range []int{4, 6} {
				p := loginPair(t, l, n, n.Ends(family))
				burst := strings.Repeat("NOOP "+strings.Repeat("x", 993)+"\r\n", 12)
				for _, command := range commands(family) {
					for _, amid := range []string{"", burst} {
						at, err := p.free(command)
						if err != nil {
							t.Fatal(err)
						}
						told, err := p.announceAmid(amid, command, at, amid)
						if err != nil {
							t.Fatal(err)
						}
						if line := announcement(command, told); line != announcement(command, at) {
							to := lab.Server
							if isPassive(command) {
								to = lab.Client
							}
							arrive[to] = append(arrive[to], strings.TrimRight(line, "."))
						}
						if err := p.data(command, at, told); err != nil {
							t.Error(err)
						}
					}
				}
				if err := p.end(); err != nil {
					t.Error(err)
				}
			}
			checksums(t, atServer, arrive[lab.Server])
			checksums(t, atClient, arrive[lab.Client])
			for _, where := range []lab.Where{lab.Client, lab.Server, lab.Gateway} {
				if count, err := checksumErrors(l, where); err != nil || count != 0 {
					t.Errorf("the %s's kernel counts %d wrong checksums (%v)", where, count, err)
				}
			}
			noneInvalid(t, l)
		})
	}
}

// checksums wants that those of all control packets that came are right, and
// that the announcements are among them.
func checksums(t *testing.T, c *capture, arrive []string) {
	t.Helper()
	frames, err := c.frames()
	if err != nil {
		t.Fatal(err)
	}
	came, largest := 0, 0
	seen := make(map[string]bool)
	for _, f := range frames {
		s, ok := dissect(f.data)
		if !ok || s.source != 21 && s.dest != 21 {
			continue
		}
		if f.sent {
			largest = max(largest, len(s.payload))
			continue
		}
		came++
		if f.unfinished {
			t.Errorf("the checksum is left to the network card: %.60q", s.payload)
		} else if err := s.wrong(); err != nil {
			t.Errorf("wrong checksum, %v", err)
		}
		for _, text := range arrive {
			seen[text] = seen[text] || bytes.Contains(s.payload, []byte(text))
		}
	}
	for _, text := range arrive {
		if !seen[text] {
			t.Errorf("%q is in no packet", text)
		}
	}
	t.Logf("%d packets came with %d announcements; the largest that was sent had %d bytes", came, len(arrive), largest)
	if len(arrive) == 0 || largest < 2*1460 {
		t.Error("that tells nothing of bursts")
	}
}

// checksumErrors is the kernel's counter of segments that it dropped for that.
func checksumErrors(l *lab.Lab, where lab.Where) (int, error) {
	out, err := l.Exec(where, "cat", "/proc/net/snmp")
	if err != nil {
		return 0, err
	}
	match := regexp.MustCompile(`(?m)^Tcp: .* (\d+)$`).FindStringSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("no counters in %q", out)
	}
	return strconv.Atoi(match[1])
}
