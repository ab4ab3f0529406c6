package sequences

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"ftpinhole/conntrack"
)

const (
	// bookHead is what a book begins with; another version has another number.
	bookHead = "ftpinhole sessions 1\n"
	// slotSize is the length of each of its slots, of which the first holds the
	// head. A slot never lies across two pages: a process that is killed has
	// written it or has not.
	slotSize = 64
	// maxSlots bounds the file to 16 MiB, and what is read of it.
	maxSlots = 1 << 18
)

// ErrBookFull means that a book holds as many sessions as it can.
var ErrBookFull = errors.New("the book of sessions is full")

// Book keeps what the next daemon needs to know of each session, in a file of
// slots. Writing one is a write to the page cache: it outlives the process, not
// the machine, and neither do the kernel's connections. It is safe for concurrent
// use.
type Book struct {
	mu     sync.Mutex
	file   *os.File
	slots  map[pair]int64
	free   []int64
	end    int64          // the first slot that was never used
	former map[pair]Entry // as read, and not written or dropped since
}

// Entry is what a book holds of a session.
type Entry = conntrack.Known

type pair struct{ client, server netip.AddrPort }

// OpenBook opens or makes a book. One that is no book, or of another version, is
// begun again, and damaged says why; slots that hold no session are passed over.
func OpenBook(path string) (b *Book, damaged, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("the book of sessions: %w", err)
	}
	b = &Book{file: f, slots: make(map[pair]int64), former: make(map[pair]Entry), end: 1}
	if damaged, err = b.read(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("the book of sessions: %w", err), f.Close())
	}
	return b, damaged, nil
}

// read takes in what a former daemon has left.
func (b *Book) read() (damaged, err error) {
	info, err := b.file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file; remove it", b.file.Name())
	}
	text, err := io.ReadAll(io.NewSectionReader(b.file, 0, maxSlots*slotSize))
	if err != nil {
		return nil, err
	}
	if len(text) < slotSize || string(text[:len(bookHead)]) != bookHead {
		if len(text) > 0 {
			damaged = fmt.Errorf("%s is no book of sessions of this version; it is begun again", b.file.Name())
		}
		return damaged, b.beginAgain()
	}

	broken := 0
	for at := int64(1); (at+1)*slotSize <= int64(len(text)); at++ {
		slot := text[at*slotSize : (at+1)*slotSize]
		b.end = at + 1
		e, ok := entry(slot)
		switch {
		case ok && b.slots[pair{e.Client, e.Server}] == 0:
			b.slots[pair{e.Client, e.Server}] = at
			b.former[pair{e.Client, e.Server}] = e
			continue
		case ok || slot[0] != 0:
			broken++
			if _, err := b.file.WriteAt(make([]byte, slotSize), at*slotSize); err != nil {
				return nil, err
			}
		}
		b.free = append(b.free, at)
	}
	if broken > 0 {
		damaged = fmt.Errorf("%s: %d slots held no session; they are cleared", b.file.Name(), broken)
	}
	return damaged, nil
}

func (b *Book) beginAgain() error {
	if err := b.file.Truncate(0); err != nil {
		return err
	}
	head := make([]byte, slotSize)
	copy(head, bookHead)
	_, err := b.file.WriteAt(head, 0)
	return err
}

// Put writes a session in place of what was written of it.
func (b *Book) Put(e Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := pair{e.Client, e.Server}
	at, known := b.slots[key]
	switch n := len(b.free); {
	case known:
	case n > 0:
		at = b.free[n-1]
	case b.end < maxSlots:
		at = b.end
	default:
		return ErrBookFull
	}

	if _, err := b.file.WriteAt(slot(e), at*slotSize); err != nil {
		return fmt.Errorf("the book of sessions: %w", err)
	}

	delete(b.former, key)
	switch {
	case known:
		return nil
	case at == b.end:
		b.end++
	default:
		b.free = b.free[:len(b.free)-1]
	}
	b.slots[key] = at
	return nil
}

// Drop forgets a session. It is no error if nothing was written of it.
func (b *Book) Drop(client, server netip.AddrPort) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.drop(pair{client, server})
}

func (b *Book) drop(key pair) error {
	at, known := b.slots[key]
	if !known {
		return nil
	}
	if _, err := b.file.WriteAt(make([]byte, slotSize), at*slotSize); err != nil {
		return fmt.Errorf("the book of sessions: %w", err)
	}
	delete(b.slots, key)
	delete(b.former, key)
	b.free = append(b.free, at)
	return nil
}

// Former returns what a former daemon has written of a session, while it stands.
func (b *Book) Former(client, server netip.AddrPort) (Entry, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.former[pair{client, server}]
	return e, ok
}

// Forget drops what a former daemon has written of sessions that are not alive,
// and returns it.
func (b *Book) Forget(alive func(client, server netip.AddrPort) bool) ([]Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var gone []Entry
	var errs []error
	for key, e := range b.former {
		if !alive(key.client, key.server) {
			gone = append(gone, e)
			errs = append(errs, b.drop(key))
		}
	}
	return gone, errors.Join(errs...)
}

// Close closes the file; what is written stays.
func (b *Book) Close() error { return b.file.Close() }

// The layout of a slot: whether it is used, the facts, two ports, two sequence
// numbers, two addresses, nothing, and a checksum, big-endian. IPv4 addresses are
// mapped (RFC 4291 2.5.5.2).
const sumAt = slotSize - 4

func slot(e Entry) []byte {
	s := make([]byte, 0, slotSize)
	s = append(s, 1, byte(e.Facts))
	s = binary.BigEndian.AppendUint16(s, e.Client.Port())
	s = binary.BigEndian.AppendUint16(s, e.Server.Port())
	s = binary.BigEndian.AppendUint32(s, e.Up)
	s = binary.BigEndian.AppendUint32(s, e.Down)
	for _, a := range []netip.Addr{e.Client.Addr(), e.Server.Addr()} {
		b := a.As16()
		s = append(s, b[:]...)
	}
	s = append(s, make([]byte, sumAt-len(s))...)
	return binary.BigEndian.AppendUint32(s, crc32.ChecksumIEEE(s))
}

// entry returns what a slot holds; ok is false if that is no session.
func entry(s []byte) (e Entry, ok bool) {
	if s[0] != 1 || binary.BigEndian.Uint32(s[sumAt:]) != crc32.ChecksumIEEE(s[:sumAt]) {
		return e, false
	}
	address := func(at int) netip.Addr { return netip.AddrFrom16([16]byte(s[at : at+16])).Unmap() }
	e = Entry{
		Facts:  conntrack.Facts(s[1]),
		Client: netip.AddrPortFrom(address(14), binary.BigEndian.Uint16(s[2:])),
		Server: netip.AddrPortFrom(address(30), binary.BigEndian.Uint16(s[4:])),
		Up:     binary.BigEndian.Uint32(s[6:]),
		Down:   binary.BigEndian.Uint32(s[10:]),
	}
	return e, e.Sound()
}
