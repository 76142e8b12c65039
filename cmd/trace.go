package cmd

import (
	"github.com/spf13/cobra"
)

func (p *program) trace() *cobra.Command {
	c := &cobra.Command{
		Use:   "trace",
		Short: "Decide what may leave, and send it to the vendors",
	}
	group(c)
	c.AddCommand(p.traceLint(), p.traceLearn())
	return c
}
