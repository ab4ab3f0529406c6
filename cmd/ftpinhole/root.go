package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot returns the command line. started becomes true when the arguments
// were fine and a verb runs: an error before that is one of usage.
//
// A new verb is one file with a function like the others', and a line here.
func newRoot() (root *cobra.Command, started *bool) {
	started = new(bool)
	root = &cobra.Command{
		Use:   "ftpinhole",
		Short: "Let FTP's data connections through a firewall, one at a time",
		Long: `ftpinhole reads FTP control connections, and for each data connection that
client and server agree on opens the firewall for just that connection.`,
		Args:             oneOfTheVerbs,
		RunE:             func(*cobra.Command, []string) error { return nil }, // Args never lets it run
		PersistentPreRun: func(*cobra.Command, []string) { *started = true },
		SilenceErrors:    true,
		SilenceUsage:     true,
	}
	root.AddCommand(
		newRun(),
		newCheck(),
		newReplay(),
		newAudit(),
		newStatus(),
		newList(),
		newWatch(),
		newClose(),
		newFlush(),
		newReload(),
		newTop(),
		newRules(),
		newVersion(),
	)
	root.InitDefaultCompletionCmd()
	strictCompletion(root)
	return root, started
}

// strictCompletion makes a wrong or missing shell an error: cobra's own verb
// prints its help and exits 0.
func strictCompletion(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Args = func(*cobra.Command, []string) error { return errors.New("name a shell: bash, fish, powershell or zsh") }
			cmd.RunE = root.RunE // Args never lets it run
		}
	}
}

// oneOfTheVerbs refuses what is left when no verb was found.
func oneOfTheVerbs(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("no verb was given")
	}
	root.SuggestionsMinimumDistance = 2
	if like := root.SuggestionsFor(args[0]); len(like) > 0 {
		return fmt.Errorf("unknown verb %q; is it %s?", args[0], strings.Join(like, " or "))
	}
	return fmt.Errorf("unknown verb %q", args[0])
}
