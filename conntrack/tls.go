package conntrack

// records follows the framing of TLS records (RFC 8446 5.1) in one direction,
// never their contents, to notice when the connection goes back to clear text
// (CCC, RFC 4217 12.3).
type records struct {
	header [5]byte
	got    int // bytes of the header in hand
	left   int // bytes of the record to come
	whole  int // records seen to their end
	clear  bool
	lost   bool // the framing is lost: blind for good
}

// skip passes over records and returns the clear text after them, if any.
func (r *records) skip(b []byte) []byte {
	for len(b) > 0 && !r.lost {
		if r.clear {
			return b
		}
		if r.left > 0 {
			n := min(r.left, len(b))
			r.left -= n
			b = b[n:]
			if r.left == 0 {
				r.whole++
			}
			continue
		}
		if r.got == 0 && !isRecordType(b[0]) {
			// Clear text counts only after TLS has really been spoken.
			r.clear, r.lost = r.whole > 0, r.whole == 0
			continue
		}
		r.header[r.got] = b[0]
		b = b[1:]
		if r.got++; r.got < len(r.header) {
			continue
		}
		r.got = 0
		r.left = int(r.header[3])<<8 | int(r.header[4])
		// 2^14 plus the 2,048 that TLS 1.2 allows for expansion (RFC 5246 6.2.3).
		if r.header[1] != 3 || r.left == 0 || r.left > 1<<14+2048 {
			r.lost = true
		}
	}
	return nil
}

// between reports whether the next byte begins a record, or clear text.
func (r *records) between() bool { return !r.lost && r.whole > 0 && r.got == 0 && r.left == 0 }

// isRecordType: change_cipher_spec 20 to heartbeat 24. No line of FTP begins
// with one of these control characters.
func isRecordType(b byte) bool { return b >= 20 && b <= 24 }
