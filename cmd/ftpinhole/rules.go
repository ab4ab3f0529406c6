package main

import (
	"errors"
	"slices"

	"ftpinhole/rules"

	"github.com/spf13/cobra"
)

func newRules() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules {nft|iptables}",
		Short: "Print the line that your own firewall needs",
		Long: `Print the line that lets data connections pass your own firewall, with a
short explanation. The bit is that of --mark, or of the configuration file.`,
		ValidArgs: []string{rules.Nft, rules.Iptables},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
				return errors.New("name the kind of your firewall: nft or iptables")
			}
			return nil
		},
	}
	s := newSettings(cmd)
	s.mark()
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := s.load()
		if err != nil {
			return err
		}
		text, err := rules.OperatorRules(args[0], c.Mark)
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write([]byte(text))
		return err
	}
	return cmd
}
