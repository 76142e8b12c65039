package cmd

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/mirror"
	"github.com/sparrowhq/sparrow/warehouse"
)

// finding is the result of one check.
type finding struct {
	Check  string `json:"check"`
	State  state  `json:"state"`
	Detail string `json:"detail"`
}

type state string

const (
	fine  state = "ok"
	note  state = "note" // worth a look, nothing is broken
	wrong state = "FAIL"
)

func (p *program) doctor() *cobra.Command {
	var f censusFlags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check a running Sparrow: processes, disk, the equation, and that every event has a final outcome everywhere",
		Long: `Check a running Sparrow, without changing anything: that its files are private, every process is ready, every
accepted request is accounted for, the warehouse holds what the feeds delivered, and every event that raw holds has a
final outcome at trace and at each tracker it belongs to. The exit status is 1 if a check fails; what is wrong with the
candidate alone is a note.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.runDoctor(c.Context(), &f) },
	}
	c.Flags().DurationVar(&f.older, "older", 5*time.Minute, "events received longer ago than this should be final")
	c.Flags().DurationVar(&f.since, "since", 24*time.Hour, "events received longer ago than this are not looked at")
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

func (p *program) runDoctor(ctx context.Context, f *censusFlags) error {
	if f.older <= 0 || f.since <= f.older {
		return usage("--older %s, --since %s: want a time, and a longer one", f.older, f.since)
	}
	in, err := p.find()
	if err != nil {
		return err
	}
	d := &doctor{in: in, flags: *f}
	d.examine(ctx)
	if p.json {
		if err := p.printJSON(map[string]any{"ok": d.ok(), "findings": d.findings}); err != nil {
			return err
		}
	} else {
		screen := p.screen(p.Stdout)
		var rows [][]string
		for _, f := range d.findings {
			rows = append(rows, []string{f.Check, string(f.State), f.Detail})
		}
		if err := screen.Wide(200).Table(terminal.Columns("check", "state", "detail"), rows); err != nil {
			return err
		}
	}
	if !d.ok() {
		return &exitStatus{status: exitError}
	}
	return nil
}

// doctor collects findings.
type doctor struct {
	in       installation
	flags    censusFlags
	secret   string
	findings []finding
}

func (d *doctor) ok() bool {
	return !slices.ContainsFunc(d.findings, func(f finding) bool { return f.State == wrong })
}

func (d *doctor) find(check string, s state, format string, args ...any) {
	d.findings = append(d.findings, finding{Check: check, State: s, Detail: fmt.Sprintf(format, args...)})
}

// judge adds what a check that can fail in one way found.
func (d *doctor) judge(check string, err error, format string, args ...any) bool {
	if err != nil {
		d.find(check, wrong, "%v", err)
		return false
	}
	d.find(check, fine, format, args...)
	return true
}

func (d *doctor) examine(ctx context.Context) {
	if d.in.dir != "" {
		d.private(d.in.dir, true)
	}
	d.private(d.in.endpoints.TokenFile, false)
	secret, err := d.in.secret()
	d.secret = secret
	d.judge("secret", err, "only its owner can read it")
	d.processes(ctx)

	token, err := existingSecret(d.in.endpoints.TokenFile)
	if err != nil {
		return // said already
	}
	m := mirror.NewClient(d.in.endpoints.Admin, token)
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	st, err := m.Status(bounded)
	if !d.judge("admin", err, "%s answers: %s live, generation %d", d.in.endpoints.Admin, st.Live, st.Generation) {
		return
	}
	d.journal(st)
	d.stacks(st)
	d.equation(bounded, m)
	if secret != "" {
		d.warehouse(ctx, st)
	}
}

// private checks that nobody else can get at a file or folder.
func (d *doctor) private(path string, folder bool) {
	what := "operator token"
	if folder {
		what = "data folder"
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		d.find(what, wrong, "%v", err)
	case info.Mode().Perm()&0o077 != 0:
		d.find(what, wrong, "%s is open to others (mode %04o): chmod go= it", path, info.Mode().Perm())
	default:
		d.find(what, fine, "%s is private", path)
	}
}

// processes asks each process whether it is ready.
func (d *doctor) processes(ctx context.Context) {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for _, p := range d.in.endpoints.Processes {
		err := askReady(ctx, client, p.URL)
		if err != nil && p.Name == sandboxName && !d.in.local {
			d.find(p.Name, note, "does not answer at %s; trackers without keys need it", p.URL)
			continue
		}
		d.judge(p.Name, err, "ready at %s", p.URL)
	}
}

func askReady(ctx context.Context, client *http.Client, base string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return fmt.Errorf("not ready: %s", strings.TrimSpace(string(body)))
}

func (d *doctor) journal(st mirror.Status) {
	j := st.Journal
	switch {
	case !j.Accepting:
		d.find("journal", wrong, "refuses requests: %s", j.Why)
	case j.MaxBytes > 0 && j.Bytes > j.MaxBytes/100*80:
		d.find("journal", note, "holds %s of %s: frames are removed before their age", terminal.Bytes(j.Bytes), terminal.Bytes(j.MaxBytes))
	default:
		d.find("journal", fine, "holds frames %d to %d, %s of %s", j.FirstFrame, j.LastFrame, terminal.Bytes(j.Bytes), terminal.Bytes(j.MaxBytes))
	}
}

// stacks looks at each stack as its feed sees it. A live stack that fails is broken; a candidate that does is worth a
// look.
func (d *doctor) stacks(st mirror.Status) {
	for _, name := range event.Stacks() {
		s, bad := st.Stacks[name], wrong
		if name != st.Live {
			bad = note
		}
		check := "feed " + string(name)
		switch {
		case s.Blocked:
			d.find(check, wrong, "waits for a person: %s", s.Error)
		case !s.Reachable:
			d.find(check, bad, "cannot be reached: %s", s.Error)
		case s.Dead+s.Expired+s.Sampled > 0:
			d.find(check, bad, "%d requests dead, %d expired, %d sampled; %d pending", s.Dead, s.Expired, s.Sampled, s.Pending.Requests)
		case s.Pending.Requests > 0:
			d.find(check, note, "%s, %d requests pending", s.Role, s.Pending.Requests)
		case s.Protocol == config.ProtocolHTTP && s.Build.ID == "":
			d.find(check, note, "%s, up to date, a service fed plain HTTP that does not say which build it is (Sparrow-Build): it cannot be declared", s.Role)
		case s.Protocol == config.ProtocolHTTP:
			d.find(check, fine, "%s, up to date, a service fed plain HTTP, build %s", s.Role, buildText(s.Build))
		default:
			d.find(check, fine, "%s, up to date, build %s", s.Role, buildText(s.Build))
		}
	}
	if l, c := st.Stacks[st.Live].Build, st.Candidate; c.ID != "" && c.ID != st.Stacks[st.Live.Other()].Build.ID {
		d.find("candidate", note, "declared is %s, running is %s: `sparrow deploy candidate` declares what runs", buildText(c), buildText(st.Stacks[st.Live.Other()].Build))
	} else if c.ID != "" && c.ID == l.ID {
		d.find("candidate", note, "is the same build as the live one")
	}
}

func (d *doctor) equation(ctx context.Context, m *mirror.Client) {
	e, err := m.Equation(ctx)
	if err != nil {
		d.find("equation", wrong, "%v", err)
		return
	}
	for _, name := range event.Stacks() {
		s, result := e.Stacks[name], fine
		if !s.OK {
			result = wrong
		}
		d.find("equation "+string(name), result, "accepted %d = delivered %d + pending %d + dead %d + expired %d + sampled %d", s.Accepted, s.Delivered, s.Pending, s.Dead, s.Expired, s.Sampled)
	}
}

// warehouse compares what the feeds believe to be stored with what is.
func (d *doctor) warehouse(ctx context.Context, st mirror.Status) {
	w, err := d.in.warehouse()
	if err != nil {
		d.find("warehouse", wrong, "%v", err)
		return
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	defer d.outcomes(ctx, w, st)
	journals, err := w.Journals(ctx)
	if err != nil {
		d.find("warehouse journals", wrong, "%v", err)
		return
	}
	if i := slices.IndexFunc(journals, func(j warehouse.Journal) bool { return j.ID == st.Journal.ID }); i < 0 && st.Accepted.Requests > 0 {
		d.find("warehouse journals", note, "nothing of journal %s has arrived yet", st.Journal.ID)
	} else {
		d.find("warehouse journals", fine, "%d known, the running one among them", len(journals))
	}
	for _, name := range event.Stacks() {
		check := "warehouse " + string(name)
		stored, err := w.Cursor(ctx, name, 0, warehouse.Raw)
		fed := st.Stacks[name].Cursor
		switch {
		case err != nil:
			d.find(check, wrong, "%v", err)
		case st.Stacks[name].Protocol == config.ProtocolHTTP && stored == event.Cursor{}:
			d.find(check, note, "holds no row of %s, a service fed plain HTTP: it cannot be compared", name)
		case st.Stacks[name].Protocol == config.ProtocolHTTP && stored.Compare(fed) < 0:
			d.find(check, note, "stored up to %v, the service was handed everything up to %v", stored, fed)
		case stored.Compare(fed) < 0:
			d.find(check, wrong, "stored up to %v, but the feed was told that all up to %v is: was the warehouse put back to an older copy? The feed sends it again once it notices", stored, fed)
		default:
			d.find(check, fine, "stored up to %v, the journal ends at %d", stored, st.Journal.LastFrame)
		}
	}
}
