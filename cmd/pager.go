package cmd

import (
	"bytes"
	"cmp"
	"io"
	"os/exec"
	"strings"

	"github.com/sparrowhq/sparrow/cmd/terminal"
)

// page shows what write writes: on a terminal, if it is higher or wider than the screen, with $SPARROW_PAGER, else
// $PAGER, else less; otherwise as it is. less is told, unless $LESS says otherwise, to pass colours through, not to fold
// long lines, and to leave what was shown on the screen.
func (p *program) page(write func(io.Writer) error) error {
	screen := p.screen(p.Stdout)
	pager := cmp.Or(p.env("SPARROW_PAGER"), p.env("PAGER"), "less")
	if !screen.Terminal || p.noPager || pager == "cat" {
		return write(p.Stdout)
	}
	var text bytes.Buffer
	if err := write(&text); err != nil {
		return err
	}
	if fits(screen, text.String()) {
		_, err := p.Stdout.Write(text.Bytes())
		return err
	}
	c := exec.Command("/bin/sh", "-c", pager) // it may have arguments; it is the user's own
	c.Env = p.Environ
	if p.env("LESS") == "" {
		c.Env = append(c.Env[:len(c.Env):len(c.Env)], "LESS=FRSX")
	}
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(text.Bytes()), p.Stdout, p.Stderr
	err := c.Run()
	if status, ok := err.(*exec.ExitError); ok && (status.ExitCode() == 126 || status.ExitCode() == 127) || err != nil && !ok {
		tell(p.Stderr, "sparrow: the pager %q does not run: set PAGER, or use --no-pager\n", pager)
		_, err := p.Stdout.Write(text.Bytes())
		return err
	}
	return nil // whoever leaves a pager before the end has seen enough
}

// fits reports whether text can be seen at once.
func fits(screen terminal.Screen, text string) bool {
	width, height := screen.Size()
	if strings.Count(text, "\n") >= height {
		return false
	}
	for line := range strings.Lines(text) {
		if terminal.Width(line) > width {
			return false
		}
	}
	return true
}
