package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newFlush() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "flush",
		Short: "Close all pinholes",
		Long: `Close all pinholes, like conntrack -F expect, without asking. Data connections
that are established already go on, and sessions may open new pinholes. Only
root and the daemon's user may do that.`,
		Args: cobra.NoArgs,
	}
	socket := socketFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(*socket)
		if err != nil {
			return err
		}
		n, err := client.FlushPinholes(cmd.Context())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "closed %d\n", n)
		return err
	}
	return cmd
}
