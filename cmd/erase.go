package cmd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

type eraseFlags struct {
	device, user, by string
	wait             time.Duration
}

// eraseAgain is how long to wait before asking again for what cannot be erased yet.
const eraseAgain = 2 * time.Minute

func (p *program) erase() *cobra.Command {
	var f eraseFlags
	c := &cobra.Command{
		Use:   "erase (--device ID | --user ID)",
		Short: "Erase what a person sent from the raw rows and outcomes of both stacks",
		Long: `Take the events of a person out of the warehouse: data, event names, contexts, and what was sent to vendors. A tombstone
stays in the place of each row, so that the ledger and comparisons of the two stacks still hold; it is not in live,
staging or raw_normalized. The table erasures keeps who had it done, when, and a salted hash of the id.

Give the id as - to read it from standard input, or as @FILE: what is on a command line, others on the machine can see.
Only the first line counts. A person's traffic should have ended before.`,
		Example: `  sparrow erase --device - < id.txt
  sparrow erase --user @id.txt --by "ticket 4711"`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.runErase(c.Context(), &f) },
	}
	g := c.Flags()
	g.StringVar(&f.device, "device", "", "deviceId of the person; - or @FILE to read it from there")
	g.StringVar(&f.user, "user", "", "userId of the person; - or @FILE to read it from there")
	g.DurationVar(&f.wait, "wait", 2*time.Hour, "go on asking for so long if the warehouse cannot change rows yet that were written a short while ago")
	g.StringVar(&f.by, "by", "", "who asks for it, for the record (default: the login name)")
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

// personID is an id as a flag gives it.
func (p *program) personID(value string) (string, error) {
	var in io.Reader
	switch path, isFile := strings.CutPrefix(value, "@"); {
	case value == "-":
		in = p.Stdin
	case isFile:
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	default:
		tell(p.Stderr, "sparrow: the id was on the command line, where others on this machine can see it: give - or @FILE\n")
		return value, nil
	}
	line, err := bufio.NewReader(io.LimitReader(in, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// erasureReport is what `erase --json` prints.
type erasureReport struct {
	warehouse.Erased
	JournalForgets int64 `json:"journalForgets"` // when the journal has forgotten it at the latest, microseconds since the epoch
}

func (p *program) runErase(ctx context.Context, f *eraseFlags) error {
	who := warehouse.Person{Kind: warehouse.ByDevice, ID: f.device}
	switch {
	case (f.device == "") == (f.user == ""):
		return usage("whom? Give either --device or --user")
	case f.user != "":
		who = warehouse.Person{Kind: warehouse.ByUser, ID: f.user}
	}
	var err error
	if who.ID, err = p.personID(who.ID); err != nil {
		return err
	}
	if err := who.Check(); err != nil {
		return usage("%v", err)
	}
	if f.by == "" {
		if u, err := user.Current(); err == nil {
			f.by = u.Username
		}
	}
	in, err := p.find()
	if err != nil {
		return err
	}
	w, err := in.warehouse()
	if err != nil {
		return err
	}
	defer w.Close()
	out, err := p.eraseAll(ctx, w, who, f)
	if err != nil {
		return err
	}
	forgets := time.UnixMicro(out.At).Add(time.Duration(in.config.Journal.MaxAge)).UTC()
	if p.json {
		return p.printJSON(erasureReport{Erased: out, JournalForgets: forgets.UnixMicro()})
	}
	tell(p.Stdout, "erased   events: %s\n", terminal.Count(out.Events))
	for _, s := range event.Stacks() {
		tell(p.Stdout, "%-8s rows of raw: %s, outcomes of its stages: %s\n", s, terminal.Count(out.Rows[s]), terminal.Count(out.Outcomes[s]))
	}
	if out.Events == 0 {
		tell(p.Stdout, "         the warehouse has no event under this id\n")
	}
	tell(p.Stdout, "record   %s %s, under salt %s, in the table erasures\n", who.Kind, out.Hash, out.Salt)
	tell(p.Stdout, `
Still holding the person's events, for a while:
  the journal and trace's backlog, until %s at the latest (journal.max_age)
  dead letters, until they are sent or removed: see sparrow dead list
  %s; copies and exports made before; the vendors
`, forgets.Format(time.RFC3339), map[bool]string{
		false: "freed pages of the warehouse's file, until they are written again",
		true:  "BigQuery's time travel and fail-safe, up to 14 days; its job history has the id as a parameter of queries",
	}[in.config.Warehouse.Engine == "bigquery"])
	if out.Scanned > 0 {
		tell(p.Stdout, "\nscanned  %s\n", terminal.Bytes(out.Scanned))
	}
	return nil
}

// eraseAll erases, and asks again for what the warehouse cannot change yet.
func (p *program) eraseAll(ctx context.Context, w warehouse.Eraser, who warehouse.Person, f *eraseFlags) (warehouse.Erased, error) {
	begun, before := time.Now(), warehouse.Erased{}
	for {
		out, err := w.Erase(ctx, who, f.by)
		out.Events, out.Scanned = max(out.Events, before.Events), out.Scanned+before.Scanned
		for _, s := range event.Stacks() {
			if before.Rows != nil && out.Rows != nil {
				out.Rows[s] += before.Rows[s]
				out.Outcomes[s] += before.Outcomes[s]
			}
		}
		if before = out; err == nil {
			return out, nil
		}
		var later *warehouse.LaterError
		left := f.wait - time.Since(begun)
		if !errors.As(err, &later) || left < eraseAgain {
			return out, err
		}
		tell(p.Stderr, "sparrow: %s rows or more were written too short a while ago to be changed; asking again at %s, for %s at most (interrupted, the next erase does the rest)\n",
			terminal.Count(later.Rows), time.Now().Add(eraseAgain).Format(time.TimeOnly), left.Round(time.Minute))
		select {
		case <-time.After(eraseAgain):
		case <-ctx.Done():
			return out, context.Cause(ctx)
		}
	}
}
