package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what the binary knows about itself. The go command puts it there:
// no flags of the linker are needed.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"` // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func newVersion() *cobra.Command {
	format := oneOf("table", "json")
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and date",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := thisBuild()
			if format.value == "json" {
				return printJSON(cmd.OutOrStdout(), b)
			}
			out := "ftpinhole " + b.Version
			if b.Commit != "" {
				out += ", commit " + b.Commit
			}
			if b.Modified {
				out += " (modified)"
			}
			if b.Date != "" {
				out += ", " + b.Date
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s, %s, %s\n", out, b.Go, b.Platform)
			return err
		},
	}
	cmd.Flags().VarP(format, "output", "o", "format")
	return cmd
}
