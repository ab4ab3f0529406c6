package main

import (
	"errors"
	"fmt"

	"ftpinhole/cmd/internal/control"

	"github.com/spf13/cobra"
)

func newReload() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Put a changed configuration into effect",
		Long: `Let the daemon read its configuration again, as the signal HUP does. Sessions
and pinholes stay. A configuration that is wrong is refused as a whole, with
exit code 3, and the old one stays in effect. Only root and the daemon's user may
do that.`,
		Args: cobra.NoArgs,
	}
	socket := socketFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(*socket)
		if err != nil {
			return err
		}
		err = client.Reload(cmd.Context())
		if errors.Is(err, control.ErrBadConfig) {
			return exitError{exitConfig, err}
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "reloaded")
		return err
	}
	return cmd
}
