// Command ftpinhole is a user-space replacement for the kernel's FTP conntrack
// helper: the daemon, and what asks it. Each verb has a file of its own.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// execute runs a verb and returns the exit code. Its context is done at the
// first INT or TERM.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root, started := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !*started { // cobra did not like the arguments
		err = exitError{exitUsage, fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath())}
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "ftpinhole: %s\n", line)
	}
	return exitCode(err)
}
