package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/cmd/send"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace/pipeline"
)

// allStages are those that each stack has in these proofs.
var allStages = append([]string{"raw", "trace"}, vendorNames...)

// learn runs `sparrow trace learn` over a file and returns what it proposes.
func learn(t testing.TB, input string) pipeline.Config {
	t.Helper()
	out := filepath.Join(t.TempDir(), "proposal.yaml")
	s := &sparrow{t: t, bin: binary(t, "."), dir: t.TempDir()}
	s.must("trace", "learn", "--input", input, "--out", out, "--events", "5000")
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pipeline.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// save writes a configuration as a person would have edited it.
func save(t testing.TB, c pipeline.Config) string {
	t.Helper()
	text := c.Canonical() // JSON, which is YAML
	if _, err := pipeline.ParseConfig(text); err != nil {
		t.Fatalf("the edited configuration: %v\n%s", err, text)
	}
	return write(t, "allowlist.yaml", string(text))
}

// generatedAllowlist is the allowlist for what `sparrow send --generate` sends.
func generatedAllowlist(t testing.TB) pipeline.Config {
	t.Helper()
	var lines strings.Builder
	source := send.Generate(7, 2000)
	for range 2000 {
		line, err := source.Next()
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(line.Body)
		lines.WriteByte('\n')
	}
	return learn(t, write(t, "generated.ndjson", lines.String()))
}

// head copies the first n lines of a file; all of them if n is 0.
func head(t testing.TB, path string, n int) string {
	t.Helper()
	if n == 0 {
		return path
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b strings.Builder
	in := bufio.NewScanner(f)
	in.Buffer(nil, 16<<20)
	for i := 0; i < n && in.Scan(); i++ {
		b.Write(in.Bytes())
		b.WriteByte('\n')
	}
	return write(t, filepath.Base(path), b.String())
}

// Real events through all trackers of both stacks: what the allowlist holds arrives, each event once, at production by
// the live stack and at staging by the candidate; compare passes on every stage.
func TestProofRealDataThroughTrackers(t *testing.T) {
	data := realData(t)
	var inputs []string
	var together strings.Builder
	for _, set := range []string{"wikiticker", "waves", "readers"} {
		input := head(t, filepath.Join(data, set, "events.ndjson"), choose(1_000, 0))
		inputs = append(inputs, input)
		text, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		together.Write(text)
	}
	c := learn(t, write(t, "all.ndjson", together.String()))
	delete(c.Events, "resource_view") // what a person thought nobody needs
	allowlist := save(t, c)
	s := up(t, "--config", settings(t, allowlist, allowlist, wholeSpeed))
	s.must("deploy", "candidate")
	listed, all := map[string]bool{}, 0
	for _, input := range inputs {
		file := filepath.Join(t.TempDir(), "acks")
		s.must("send", "--input", input, "--connections", "32", "--acks", file)
		lines := names(t, input)
		for id, line := range acks(t, file) {
			all++
			if _, ok := c.Events[lines[line-1]]; ok {
				listed[id] = true
			}
		}
	}
	s.final(time.Duration(choose(2, 20))*time.Minute, allStages...)
	for _, side := range []struct{ dataset, project string }{{"live", "production"}, {"staging", "staging"}} {
		accepted := s.outcomes(side.dataset, "trace", "o.outcome = 'accepted'")
		if len(accepted) != len(listed) {
			t.Errorf("%s: %d events are accepted, the allowlist holds %d of those sent", side.dataset, len(accepted), len(listed))
		}
		for _, vendor := range vendorNames {
			want := s.outcomes(side.dataset, vendor, "o.outcome = 'delivered'")
			for _, row := range s.query(fmt.Sprintf(`SELECT outcome, reason, count(*), any_value(event) FROM %s.outcomes WHERE stage = '%s' AND outcome <> 'delivered' GROUP BY ALL`, side.dataset, vendor)) {
				t.Logf("%s at %s: %s, %s: %s events, such as %s", vendor, side.project, row[0], row[1], row[2], row[3])
			}
			if rest := s.outcomes(side.dataset, vendor, "o.outcome = 'rejected' AND o.reason IN ('value too long', 'text too long', 'invalid id', 'too large')"); len(want)+len(rest) != len(listed) {
				t.Errorf("%s at %s: %d delivered and %d beyond what the vendor documents, of %d", vendor, side.project, len(want), len(rest), len(listed))
			}
			s.eachOnce(vendor, side.project, want, nil)
			got := s.received()[vendor+" "+side.project]
			if got.Deliveries != uint64(len(want)) || got.Duplicates != 0 || got.WithoutID != 0 || len(got.Dropped) != 0 || len(got.Refused) != 0 {
				t.Errorf("%s %s: %+v", vendor, side.project, got)
			}
		}
	}
	if got := s.received(); got["ga4 unknown"].Deliveries+got["heap unknown"].Deliveries+got["amplitude unknown"].Deliveries > 0 {
		t.Errorf("events went under no credential of ours: %v", got)
	}
	out := s.must("compare", "--wait", "5m")
	for _, stage := range allStages {
		if !strings.Contains(out, stage) {
			t.Errorf("the verdict does not speak of stage %s", stage)
		}
	}
	s.must("doctor", "--older", "1ms")
	t.Logf("%d events, %d on the allowlist\n%s", all, len(listed), out)
}

// scenario begins one at the sandbox.
func (s *sparrow) scenario(text string) {
	s.t.Helper()
	s.must("sandbox", "scenario", write(s.t, "scenario.yaml", text))
}

// laneStates is what `trace status --json` says of the lanes.
type laneStates struct {
	Stacks map[string]struct {
		Lanes map[string]struct {
			Lag   uint64 `json:"lag"`
			Dead  int    `json:"dead"`
			Again uint64 `json:"again"`
		} `json:"lanes"`
	} `json:"stacks"`
}

func (s *sparrow) laneStates() laneStates {
	s.t.Helper()
	var l laneStates
	if err := json.Unmarshal([]byte(s.must("trace", "status", "--json")), &l); err != nil {
		s.t.Fatal(err)
	}
	return l
}

// again returns the ids that a stack's outcomes list as sent again after a crash.
func (s *sparrow) again(dataset, vendor string) map[string]bool {
	return s.outcomes(dataset, vendor, "o.reason = 'sent again after a crash'")
}

// keyed returns the idempotency key under which vendors that take one know each of a dataset's events: the eventId, or
// for an event with a messageId a hash of that, made here by the same pipeline with the installation's key.
func (s *sparrow) keyed(dataset string, c pipeline.Config) map[string]string {
	s.t.Helper()
	text, err := service.Secret(filepath.Join(s.dir, "key"))
	if err != nil {
		s.t.Fatal(err)
	}
	key := sha256.Sum256([]byte(text))
	p, err := pipeline.New(pipeline.Options{Config: c, Secret: key[:]})
	if err != nil {
		s.t.Fatal(err)
	}
	keys := map[string]string{}
	var b pipeline.Batch
	for _, row := range s.query(`SELECT "eventId", data FROM ` + dataset + `.raw`) {
		id := uuid.MustParse(row[0][:36])
		b.Reset()
		p.Process(1, 0, &event.Request{Id: id[:], ReceivedAt: 1, Query: []byte("k=dev"), Body: []byte(row[1])}, &b)
		keys[row[0]] = row[0]
		if len(b.Events) == 1 && b.Events[0].Key != id.String() {
			keys[row[0]] = b.Events[0].Key
		}
	}
	return keys
}

// deliveredOnce checks production and staging against the outcomes: each accepted event arrived at each vendor, once but
// for what is listed.
func (s *sparrow) deliveredOnce(c pipeline.Config) {
	s.t.Helper()
	for _, side := range []struct{ dataset, project string }{{"live", "production"}, {"staging", "staging"}} {
		accepted := s.outcomes(side.dataset, "trace", "o.outcome = 'accepted'")
		if len(accepted) == 0 {
			s.t.Errorf("%s: nothing was accepted", side.dataset)
		}
		keys := s.keyed(side.dataset, c)
		for _, vendor := range vendorNames {
			want, again := accepted, s.again(side.dataset, vendor)
			if vendor != "ga4" { // it drops what it has got by its key: deliveries may repeat, what it stores does not
				got := s.received()[vendor+" "+side.project]
				if got.Duplicates != got.Deduplicated {
					s.t.Errorf("%s %s: %d came again, of which the vendor dropped %d", vendor, side.project, got.Duplicates, got.Deduplicated)
				}
				want = map[string]bool{}
				for id := range accepted {
					want[keys[id]] = true
				}
				if len(want) != len(accepted) {
					s.t.Errorf("%s: %d events have %d keys", side.dataset, len(accepted), len(want))
				}
				again = want
			}
			s.eachOnce(vendor, side.project, want, again)
			if vendor == "ga4" && len(again) > 0 {
				s.t.Logf("ga4 %s: %d events are listed as sent again after a crash", side.project, len(again))
			}
		}
	}
}

// One vendor is out under load, and trace is killed meanwhile. The others do not lag, it catches up by itself, and
// nothing is missing.
func TestProofVendorDown(t *testing.T) {
	c := generatedAllowlist(t)
	allowlist := save(t, c)
	s := up(t, "--config", settings(t, allowlist, allowlist, wholeSpeed))
	s.must("deploy", "candidate")
	l := s.load(choose(300, 1_000))
	s.await("events flow to all vendors", time.Minute, func() error {
		for _, vendor := range vendorNames {
			if n := s.received()[vendor+" production"].Deliveries; n < 100 {
				return fmt.Errorf("%s has %d", vendor, n)
			}
		}
		return nil
	})
	s.scenario("rules: [{name: down, vendor: amplitude, fault: outage}]\n")
	most := map[string]uint64{}
	for end := time.Now().Add(time.Duration(choose(3, 600)) * time.Second); time.Now().Before(end); {
		states := s.laneStates()
		for _, lane := range []string{"ga4", "heap"} {
			most[lane] = max(most[lane], states.Stacks["green"].Lanes[lane].Lag)
		}
		time.Sleep(200 * time.Millisecond) // the load's time, not ours
	}
	t.Logf("amplitude down under load: the others' lag was at most %v events", most)
	for _, name := range []string{"green-trace", "blue-trace"} {
		old := s.pid(name)
		s.signal(name, syscall.SIGKILL)
		s.await(name+" is back", time.Minute, func() error {
			if s.pid(name) == old {
				return fmt.Errorf("not yet")
			}
			return nil
		})
	}
	acked := l.stop(t)
	s.final(time.Minute, "raw", "trace", "ga4", "heap") // while amplitude is still down
	states := s.laneStates()
	for _, stack := range []string{"green", "blue"} {
		if lag := states.Stacks[stack].Lanes["amplitude"].Lag; lag == 0 {
			t.Errorf("%s: amplitude is down and does not lag", stack)
		}
	}
	if out, status := s.run("doctor", "--older", "1ms"); status != 1 || !strings.Contains(out, "outcomes green amplitude") || !strings.Contains(out, "not final") {
		t.Errorf("doctor says nothing of amplitude: exit status %d\n%s", status, out)
	}
	if out, status := s.run("compare"); status != 3 || !strings.Contains(out, "amplitude") {
		t.Errorf("compare with a vendor behind: exit status %d, want 3\n%s", status, out)
	}
	s.must("sandbox", "scenario", "--end")
	s.final(time.Duration(choose(2, 30))*time.Minute, allStages...)
	s.deliveredOnce(c)
	s.exactlyOnce(acked)
	s.must("doctor", "--older", "1ms")
	for _, stack := range s.laneStates().Stacks {
		for name, lane := range stack.Lanes {
			if lane.Dead != 0 {
				t.Errorf("%s: an outage made %d dead letters", name, lane.Dead)
			}
		}
	}
	t.Logf("%d events acknowledged", len(acked))
}

// Flips under load, a trace killed in between: production and staging projects each have each event once; what GA4 may
// have got twice after the crash is listed by id.
func TestProofFlipsWithVendors(t *testing.T) {
	c := generatedAllowlist(t)
	allowlist := save(t, c)
	s := up(t, "--config", settings(t, allowlist, allowlist, wholeSpeed))
	s.must("deploy", "candidate")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pause := func() { time.Sleep(time.Duration(random.IntN(choose(300, 10_000))) * time.Millisecond) } // random moments
	l := s.load(choose(300, 1_000))
	for flip := range 5 {
		pause()
		s.must("deploy", "cutover", "--force", "--reason", fmt.Sprintf("flip %d", flip))
		pause()
		if flip == 2 {
			s.signal("green-trace", syscall.SIGKILL)
		}
		s.must("deploy", "rollback", "--reason", fmt.Sprintf("flip %d back", flip))
	}
	acked := l.stop(t)
	s.final(2*time.Minute, allStages...)
	if flips := s.number(`SELECT count(*) FROM timeline WHERE kind IN ('cutover', 'rollback')`); flips != 10 {
		t.Errorf("the timeline holds %d flips, want 10", flips)
	}
	s.deliveredOnce(c)
	s.exactlyOnce(acked)
	if both := s.number(`SELECT count(*) FROM live.outcomes WHERE sink = 'staging'`) + s.number(`SELECT count(*) FROM staging.outcomes WHERE sink = 'production'`); both != 0 {
		t.Errorf("%d outcomes name the other project", both)
	}
	t.Logf("%d events acknowledged over 10 flips", len(acked))
}

// A candidate that spells a property in a way that GA4 drops without a word: lint warns, compare names the stage, and the
// sandbox shows that the property did not arrive.
func TestProofSilentDrop(t *testing.T) {
	c := generatedAllowlist(t)
	live := save(t, c)
	changed := c
	changed.Events = map[string]pipeline.EventRule{}
	for name, rule := range c.Events {
		changed.Events[name] = rule
	}
	click := changed.Events["click"]
	click.Trackers = map[string]pipeline.Mapping{"ga4": {Properties: map[string]string{"element": "click-element"}}}
	changed.Events["click"] = click
	candidate := save(t, changed)

	s := up(t, "--config", settings(t, live, candidate, wholeSpeed))
	if out := s.must("trace", "lint", candidate); !strings.Contains(out, "events.click.properties.element") || !strings.Contains(out, "click-element") {
		t.Errorf("lint does not warn:\n%s", out)
	}
	s.must("deploy", "candidate")
	s.events(choose(1_000, 20_000), 1)
	out, status := s.run("compare", "--wait", "2m")
	if status != 1 {
		t.Fatalf("exit status %d, want 1\n%s", status, out)
	}
	for _, want := range []string{"ga4", "click"} {
		if !strings.Contains(out, want) {
			t.Errorf("compare does not name %s:\n%s", want, out)
		}
	}
	clicks := func(project string) string {
		var found struct {
			Events []struct {
				Name  string          `json:"name"`
				Event json.RawMessage `json:"event"`
			} `json:"events"`
		}
		if err := json.Unmarshal([]byte(s.must("sandbox", "events", "ga4", project, "--json", "--limit", "200")), &found); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(found.Events, func(e struct {
			Name  string          `json:"name"`
			Event json.RawMessage `json:"event"`
		}) bool {
			return e.Name == "click"
		})
		if i < 0 {
			t.Fatalf("no click arrived at %s", project)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, found.Events[i].Event); err != nil {
			t.Fatal(err)
		}
		return compact.String()
	}
	if e := clicks("production"); !strings.Contains(e, `"element":"button-`) {
		t.Errorf("production: %s", e)
	}
	if e := clicks("staging"); strings.Contains(e, "button-") {
		t.Errorf("staging has the property: %s", e)
	}
	if _, status := s.run("deploy", "cutover"); status == 0 {
		t.Error("a cutover went through on a FAIL")
	}
	t.Logf("%s", out)
}

// A candidate with one fault each on the way to the vendors: compare exits 1 and names stage, event and ids. What a
// pipeline file can spoil is reloaded into the running candidate; what takes code is a build of its own.
func TestProofFaultsTowardsVendors(t *testing.T) {
	sound := generatedAllowlist(t)
	delete(sound.Events, "signup") // not listed, so that a list can be too wide
	live := save(t, sound)
	with := func(change func(c *pipeline.Config)) string {
		c, err := pipeline.ParseConfig(sound.Canonical())
		if err != nil {
			t.Fatal(err)
		}
		change(&c)
		return save(t, c)
	}
	mapped := func(c *pipeline.Config, event, tracker string, change func(*pipeline.Mapping)) {
		e := c.Events[event]
		m := e.Trackers[tracker]
		change(&m)
		if e.Trackers == nil {
			e.Trackers = map[string]pipeline.Mapping{}
		}
		e.Trackers[tracker] = m
		c.Events[event] = e
	}
	s := up(t, "--config", settings(t, live, live, wholeSpeed))
	const faulty = "./testdata/candidates/"
	builds(t, faulty+"stringifies", faulty+"losesafter", faulty+"sendstwice") // while others are tried
	force := live
	for i, fault := range []struct {
		name, file, binary string
		names              []string // what the report must say
	}{
		{name: "drops a property for one vendor", names: []string{" changed at heap of", "click"}, file: with(func(c *pipeline.Config) {
			mapped(c, "click", "heap", func(m *pipeline.Mapping) { m.Omit = append(m.Omit, "element") })
		})},
		{name: "renames for one vendor", names: []string{" changed at amplitude of", "search"}, file: with(func(c *pipeline.Config) {
			mapped(c, "search", "amplitude", func(m *pipeline.Mapping) { m.Name = "searched" })
		})},
		{name: "scrubber off", names: []string{"changed at ga4", "pageview"}, file: with(func(c *pipeline.Config) {
			c.Scrub.Rules = map[string]pipeline.Action{pipeline.RuleEmail: pipeline.Off}
		})},
		{name: "allowlist too wide", names: []string{"changed at trace", "signup"}, file: with(func(c *pipeline.Config) {
			c.Events["signup"] = pipeline.EventRule{}
		})},
		{name: "integer to string", names: []string{" changed at ga4, ", "search"}, file: live, binary: "stringifies"},
		{name: "loses one after the log", names: []string{"1 changed at heap of", "(outcome, reason"}, file: live, binary: "losesafter"},
		{name: "sends some twice", names: []string{" changed at ga4 of", "(reason)"}, file: live, binary: "sendstwice"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			if fault.file != force {
				s.must("trace", "reload", fault.file)
				force = fault.file
			}
			if fault.binary != "" {
				s.must("deploy", "candidate", "--binary", binary(t, faulty+fault.binary))
			} else {
				s.must("deploy", "candidate")
			}
			s.events(400, i+1)                                      // others each time: a messageId that comes again is no event
			if i := strings.Index(fault.name, "scrubber"); i == 0 { // made-up events hold nothing to scrub
				s.post([]byte(`{"event":"pageview","deviceId":"d1","properties":{"pathname":"/u/jim@example.com"}}`))
			}
			out, status := s.run("compare", "--wait", "2m")
			if status != 1 {
				t.Errorf("fault %d: exit status %d, want 1\n%s", i, status, out)
			}
			for _, want := range append(fault.names, "such as ") {
				if !strings.Contains(out, want) {
					t.Errorf("the report does not say %q:\n%s", want, out)
				}
			}
		})
	}
}
