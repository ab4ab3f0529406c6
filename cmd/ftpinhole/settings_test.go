package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/config"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// loaded is what a verb with all flags gets from a file and arguments.
func loaded(t *testing.T, file string, args ...string) (config.Config, error) {
	t.Helper()
	cmd := &cobra.Command{Use: "run"}
	s := newSettings(cmd)
	s.all()
	path := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(append([]string{"--config", path}, args...)); err != nil {
		return config.Config{}, err
	}
	return s.load()
}

const allKeys = `
ports = [2121]
hooks = ["input"]
queue_num = 1
queues = 1
backend = "nft"
mark = 0x1
socket = "/f/s"
state_dir = "/f/d"
audit_log = "/f/a"
metrics = "127.0.0.1:9521"
pinhole_timeout = "1s"
log_format = "json"
log_level = "warn"
observe = true
local_active = true
`

func TestFlagsBeatTheFile(t *testing.T) {
	got, err := loaded(t, allKeys, "--ports", "21, 990", "--hooks", "forward,output", "--queue-num", "7", "--queues", "3", "--backend", "auto",
		"--mark", "0x01000000", "--socket", "/g/s", "--state-dir", "/g/d", "--audit-log", "/g/a", "--metrics", "unix:/g/m", "--pinhole-timeout", "2m",
		"--log-format", "text", "--log-level", "debug", "--observe=false")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Ports, want.Hooks, want.QueueNum, want.Queues, want.Backend = []uint16{21, 990}, []string{"forward", "output"}, 7, 3, "auto"
	want.Mark, want.Socket, want.StateDir, want.AuditLog, want.Metrics = 0x01000000, "/g/s", "/g/d", "/g/a", "unix:/g/m"
	want.PinholeTimeout.Duration, want.LogFormat, want.LogLevel, want.Observe, want.LocalActive = 2*time.Minute, "text", "debug", false, true
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFlagsNotGivenLeaveTheFile(t *testing.T) {
	got, err := loaded(t, allKeys)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Ports, want.Hooks, want.QueueNum, want.Queues, want.Backend = []uint16{2121}, []string{"input"}, 1, 1, "nft"
	want.Mark, want.Socket, want.StateDir, want.AuditLog, want.Metrics = 1, "/f/s", "/f/d", "/f/a", "127.0.0.1:9521"
	want.PinholeTimeout.Duration, want.LogFormat, want.LogLevel, want.Observe, want.LocalActive = time.Second, "json", "warn", true, true
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRelativePathsInFlags(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	got, err := loaded(t, "", "--socket", "s", "--state-dir", ".", "--audit-log", "a/b")
	if err != nil {
		t.Fatal(err)
	}
	for have, want := range map[string]string{got.Socket: dir + "/s", got.StateDir: dir, got.AuditLog: dir + "/a/b"} {
		if have != want {
			t.Errorf("%s, want %s", have, want)
		}
	}
}

func TestBadSettings(t *testing.T) {
	tests := []struct {
		name, file, want string
		args             []string
		code             int
	}{
		{"bad file", "x = 1", "f.toml:1: unknown key", nil, exitConfig},
		{"bad flag", "", "mark: 0x3 is not one bit", []string{"--mark", "3"}, exitUsage},
		{"flag and file disagree", "queues = 2", "queue_num: 65535", []string{"--queue-num", "65535"}, exitUsage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loaded(t, tt.file, tt.args...)
			if err == nil || !strings.Contains(err.Error(), tt.want) || exitCode(err) != tt.code {
				t.Errorf("%v, exit %d, want %q, exit %d", err, exitCode(err), tt.want, tt.code)
			}
		})
	}
	for _, args := range [][]string{{"--ports", "70000"}, {"--ports", "21,0"}, {"--ports", ""}, {"--mark", "x"}, {"--mark", "0x100000000"}, {"--queue-num", "65536"}} {
		if _, err := loaded(t, "", args...); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}

func TestExitCode(t *testing.T) {
	for want, err := range map[int]error{
		exitFailed:       errors.New("x"),
		exitNotPermitted: os.NewSyscallError("bind", os.ErrPermission),
		exitKernel:       exitError{exitKernel, errors.New("x")},
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: exit %d, want %d", err, got, want)
		}
	}
}
