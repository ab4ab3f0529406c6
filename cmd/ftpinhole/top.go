package main

import (
	"io"
	"os"

	"ftpinhole/cmd/internal/top"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newTop() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show the daemon live in the terminal",
		Long: `Show sessions, open pinholes with the seconds that are left to them, rates,
refusals by reason and the health of the queue, live. On a pipe it prints once.

  q       quit            s       sort by the next key
  tab     other list      r       reverse
  arrows  select          /       filter, esc clears it
  c       close the selected pinhole, after asking`,
		Args: cobra.NoArgs,
	}
	socket := socketFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(*socket)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if !isTerminal(out) {
			return top.Once(cmd.Context(), client, out)
		}
		return top.Run(cmd.Context(), client, cmd.InOrStdin(), out)
	}
	return cmd
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
