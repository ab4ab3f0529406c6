package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Variant is how a transfer gets its data connection.
type Variant struct {
	Family   int // 4 or 6
	Active   bool
	Extended bool // EPRT, EPSV; in family 6 there is nothing else
}

// Variants are all that exist.
func Variants() []Variant {
	return []Variant{
		{Family: 4},
		{Family: 4, Extended: true},
		{Family: 4, Active: true},
		{Family: 4, Active: true, Extended: true},
		{Family: 6, Extended: true},
		{Family: 6, Active: true, Extended: true},
	}
}

// Command is the FTP command that the variant uses.
func (v Variant) Command() string {
	switch {
	case v.Active && v.Extended:
		return "EPRT"
	case v.Active:
		return "PORT"
	case v.Extended:
		return "EPSV"
	}
	return "PASV"
}

func (v Variant) String() string { return fmt.Sprintf("IPv%d_%s", v.Family, v.Command()) }

// Op is what a client does.
type Op string

// What clients do.
const (
	Download Op = "download"
	Upload   Op = "upload"
	List     Op = "list"
)

// Ops are all of them.
func Ops() []Op { return []Op{Download, Upload, List} }

// Program is an FTP client.
type Program struct {
	Name string
	// can says whether the client has a way to do this.
	can func(Variant, Op) bool
	// line is the command and what is typed into it. It works in a folder
	// with the file src, fetches small.bin to got, stores src as upload/NAME
	// and prints a listing.
	line func(v Variant, op Op, host netip.Addr, name string) (args []string, input string)
}

// Programs are the clients, each in the variants that it knows.
func Programs() []Program {
	return []Program{curl(), lftp(), wget(), ncftp(), tnftp(), inetutils(), ftplib()}
}

// Can says whether the client has a way to do this.
func (p Program) Can(v Variant, op Op) bool { return p.can(v, op) }

// Run does one transfer from the client namespace to the host and checks that
// what arrived is what was sent.
func (p Program) Run(l *Lab, v Variant, op Op, host netip.Addr, limit time.Duration) error {
	return p.RunIn(l, Client, v, op, host, limit)
}

// RunIn is Run in any namespace.
func (p Program) RunIn(l *Lab, where Where, v Variant, op Op, host netip.Addr, limit time.Duration) error {
	dir, err := os.MkdirTemp(l.Dir, "client-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails
	name := p.Name + "-" + hex.EncodeToString(id[:])
	source := make([]byte, 20_000)
	_, _ = rand.Read(source)
	if err := os.WriteFile(filepath.Join(dir, "src"), source, 0o644); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(l.t.Context(), limit)
	defer cancel()
	args, input := p.line(v, op, host, name)
	cmd := l.Command(ctx, where, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "LC_ALL=C")
	cmd.Stdin = strings.NewReader(input)
	out, runErr := cmd.CombinedOutput()
	// Some clients tell failure by their exit code, some only by their text,
	// and some fail although all has been transferred: the files decide.
	if err := p.check(l, op, dir, name, source, out); err != nil {
		return fmt.Errorf("%s %v %s: %w (%v)\n%s", p.Name, v, op, err, runErr, bytes.TrimSpace(out))
	}
	if runErr != nil {
		return fmt.Errorf("%s %v %s: %w\n%s", p.Name, v, op, runErr, bytes.TrimSpace(out))
	}
	return nil
}

func (p Program) check(l *Lab, op Op, dir, name string, source, out []byte) error {
	var want, got []byte
	var err error
	switch op {
	case Download:
		if want, err = os.ReadFile(l.Served("small.bin")); err != nil {
			return err
		}
		got, err = os.ReadFile(filepath.Join(dir, "got"))
	case Upload:
		want = source
		got, err = os.ReadFile(l.Served("upload/" + name))
	case List:
		if listing, err := os.ReadFile(filepath.Join(dir, "got")); err == nil {
			out = append(out, listing...)
		}
		if !bytes.Contains(out, []byte("hello.txt")) {
			return fmt.Errorf("hello.txt is not in the listing")
		}
		return nil
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes arrived, not the %d that were sent, or others", len(got), len(want))
	}
	return nil
}
