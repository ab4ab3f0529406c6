package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	tea "charm.land/bubbletea/v2"
)

// Run shows the daemon in the terminal until q or Ctrl-C is pressed, or the
// context is done.
func Run(ctx context.Context, src Source, in io.Reader, out io.Writer) error {
	p := tea.NewProgram(New(ctx, src), tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler(), tea.WithFPS(20))
	_, err := p.Run()
	if ctx.Err() != nil || errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("terminal: %w; for one look, send the output through a pipe", err)
	}
	return nil
}

// Once prints the daemon as it is, without a terminal.
func Once(ctx context.Context, src Source, out io.Writer) error {
	s, err := take(ctx, src)
	if err != nil {
		return err
	}
	m := New(ctx, src).sampled(sampled{sample: s})
	if _, err := io.WriteString(out, strings.Join(append(m.head(), "", m.heading(), ""), "\n")); err != nil {
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(titles(pinholeColumns()), "\t"))
	for _, r := range m.list {
		fmt.Fprintln(t, strings.Join(r.cells, "\t"))
	}
	return t.Flush()
}
