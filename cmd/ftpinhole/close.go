package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newClose() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "close ID",
		Short: "Close one pinhole",
		Long: `Close the pinhole with this id (see: ftpinhole list) before its time. A data
connection that is established already goes on. Only root and the daemon's user
may do that.`,
		Args: one("one pinhole by its id; list them: ftpinhole list"),
	}
	socket := socketFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := dial(*socket)
		if err != nil {
			return err
		}
		if err := client.ClosePinhole(cmd.Context(), args[0]); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "closed %s\n", args[0])
		return err
	}
	return cmd
}
