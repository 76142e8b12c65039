package config

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"

	"github.com/sparrowhq/sparrow/warehouse"
)

const example = "../../sparrow.example.yaml"

func TestExampleIsTheDefault(t *testing.T) {
	got, err := Load(example, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the example's values differ from the defaults:\n%s", diff)
	}
}

// The example must name every setting, or nobody will find it, and say what it means: each key of green has a comment,
// blue has the same keys.
func TestExampleNamesAndExplainsEverySetting(t *testing.T) {
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	var walk func(n *yaml.Node, prefix string)
	walk = func(n *yaml.Node, prefix string) {
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			name := prefix + key.Value
			if value.Kind == yaml.MappingNode {
				walk(value, name+".")
				continue
			}
			named[name] = true
			repeated := regexp.MustCompile(`^(stacks\.blue|trackers\.(heap|amplitude|webhook)|sandbox\.limits)\.`).MatchString(name)
			if key.HeadComment == "" && !repeated && !slices.Contains([]string{"admin.listen", "telemetry.environment"}, name) {
				t.Errorf("%s has no comment", name)
			}
		}
	}
	walk(doc.Content[0], "")
	c := Default()
	for _, s := range Settings(&c) {
		if !named[s.Key] {
			t.Errorf("%s is missing", s.Key)
		}
	}
}

func TestEverySettingHasAnEnvironmentVariable(t *testing.T) {
	c := Default()
	var environ []string
	seen := map[string]string{}
	for _, s := range Settings(&c) {
		if other, ok := seen[s.Env]; ok {
			t.Errorf("%s and %s share the variable %s", other, s.Key, s.Env)
		}
		if !regexp.MustCompile(`^SPARROW_[A-Z0-9_]+$`).MatchString(s.Env) {
			t.Errorf("%s has the variable %s", s.Key, s.Env)
		}
		seen[s.Env] = s.Key
		environ = append(environ, s.Env+"="+s.String())
	}
	// Set to what they are, they change nothing; this exercises parser and printer of each type.
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, []byte("# nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(empty, environ)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestLaterWins(t *testing.T) {
	file := write(t, "journal:\n  max_bytes: 1GiB\n  max_age: 90d\nclients:\n  origins: [https://a.example]\n")
	got, err := Load(file, []string{
		"SPARROW_JOURNAL_MAX_BYTES=2GiB", "SPARROW_CLIENTS_ORIGINS=https://b.example, https://c.example",
		"SPARROW_STACKS_BLUE_BUILD=/bin/candidate", "SPARROW_JOURNAL_PRESSURE=0.5", "SPARROW_DATA=/srv/sparrow", "PATH=/bin",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Journal.MaxBytes = 2 << 30
	want.Journal.MaxAge = Duration(90 * 24 * time.Hour)
	want.Journal.Pressure = 0.5
	want.Clients.Origins = []string{"https://b.example", "https://c.example"}
	want.Stacks.Blue.Build = "/bin/candidate"
	want.Data = "/srv/sparrow"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A tracker's section takes defaults for what it leaves out, others stay, and variables reach all of them.
func TestTrackers(t *testing.T) {
	file := write(t, "trackers:\n  heap: {production: {key: '123'}}\n  crm-eu: {production: {url: https://crm.example/in}, calls: 4}\n  bare:\n")
	got, err := Load(file, []string{"SPARROW_TRACKERS_CRM_EU_STAGING_MODE=2.5%", "SPARROW_TRACKERS_GA4_PRODUCTION_KEY=G-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Trackers["heap"].Production.Key = "123"
	want.Trackers["ga4"].Production.Key = "G-1"
	want.Trackers["crm-eu"], want.Trackers["bare"] = want.Trackers.Of("x"), want.Trackers.Of("y")
	want.Trackers["crm-eu"].Production.URL, want.Trackers["crm-eu"].Calls, want.Trackers["crm-eu"].Staging.Mode = "https://crm.example/in", 4, "2.5%"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s := got.Trackers["heap"]; s.Production.Sandboxed() || !s.Staging.Sandboxed() {
		t.Errorf("heap: %+v: production has a key, staging none", s)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sparrow.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMistakesAreErrors(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		environ []string
		want    []string
	}{
		"unknown key": {
			file: "clients:\n  listen: :80\n  max_bodies: 1MiB\n",
			want: []string{`sparrow.yaml:3: unknown setting "max_bodies": did you mean "max_body"?`},
		},
		"misspelt section": {
			file: "client:\n  listen: :80\n",
			want: []string{`sparrow.yaml:1: unknown setting "client": did you mean "clients"?`},
		},
		"unknown section": {
			file: "# top\n\nfrobnicate:\n  x: 1\n",
			want: []string{`sparrow.yaml:3: unknown setting "frobnicate": sparrow.example.yaml lists all there are`},
		},
		"all bad values at once": {
			file: "journal:\n  max_bytes: 20 gigs\n  max_age: soon\n  replicas: many\n",
			want: []string{
				`sparrow.yaml:2: "20 gigs" is not a size: write one like 512KiB`, `sparrow.yaml:3: "soon" is not a duration`,
				"sparrow.yaml:4: cannot unmarshal !!str `many` into int",
			},
		},
		"not YAML":         {file: "a: [\n", want: []string{"sparrow.yaml:"}},
		"two documents":    {file: "data: a\n---\ndata: b\n", want: []string{"second document"}},
		"duplicate key":    {file: "data: a\ndata: b\n", want: []string{"sparrow.yaml:2:", "already defined"}},
		"bad variable":     {environ: []string{"SPARROW_JOURNAL_REPLICAS=three"}, want: []string{`environment variable SPARROW_JOURNAL_REPLICAS: "three" is not a whole number`}},
		"bad size in one":  {environ: []string{"SPARROW_WAREHOUSE_MEMORY=-1GiB"}, want: []string{"SPARROW_WAREHOUSE_MEMORY", "not a size"}},
		"size beyond all":  {environ: []string{"SPARROW_WAREHOUSE_MEMORY=9999999999GiB"}, want: []string{"not a size"}},
		"address":          {file: "clients:\n  listen: localhost\n", want: []string{`setting clients.listen (SPARROW_CLIENTS_LISTEN): "localhost" is not an address`}},
		"password in url":  {file: "stacks:\n  green:\n    url: http://u:hunter2@h:1\n", want: []string{"setting stacks.green.url", "without path or password"}},
		"proxy":            {file: "clients:\n  trusted_proxies: [10.0.0.0/99]\n", want: []string{"clients.trusted_proxies", `"10.0.0.0/99" is neither`}},
		"half of TLS":      {file: "clients: {tls: {cert: a.pem}}\n", want: []string{"clients.tls.key", "two files"}},
		"old TLS":          {file: "clients: {tls: {min_version: \"1.0\"}}\n", want: []string{"clients.tls.min_version", "want 1.2 or 1.3"}},
		"level":            {file: "telemetry: {level: loud}\n", want: []string{"telemetry.level", "want debug"}},
		"zero":             {file: "feeds: {attempts: 0}\n", want: []string{"feeds.attempts", "must not be 0"}},
		"negative":         {file: "feeds: {attempts: -1}\n", want: []string{"feeds.attempts", "is negative"}},
		"protocol":         {file: "stacks: {blue: {protocol: carrier pigeon}}\n", want: []string{"stacks.blue.protocol", "want one of frames"}},
		"proof of nothing": {file: "compare: {min_events: 0, confidence: 1}\n", want: []string{"compare.min_events", "compare.confidence"}},
		"all and more":     {file: "compare: {stages: [all, ga4]}\n", want: []string{"compare.stages", "name it alone"}},
		"no stage":         {file: "compare: {stages: []}\n", want: []string{"compare.stages", "is empty"}},
		"a correction":     {environ: []string{"SPARROW_COMPARE_STAGES=trace,ga4/late"}, want: []string{"compare.stages", "corrections"}},
		"pressure":         {environ: []string{"SPARROW_JOURNAL_PRESSURE=NaN"}, want: []string{"journal.pressure"}},
		"several at once":  {file: "admin: {listen: x}\nwarehouse: {engine: sqlite}\n", want: []string{"admin.listen", "warehouse.engine"}},
		"file not there":   {file: "-", want: []string{"no such file"}},
		"data of no name":  {environ: []string{"SPARROW_DATA="}, want: []string{"setting data (SPARROW_DATA): is empty"}},
		"no https":         {file: "trackers: {crm: {production: {url: 'http://hunter2.example/'}}}\n", want: []string{"trackers.crm.production.url", "https"}},
		"staging is live":  {file: "trackers: {heap: {production: {key: '1'}, staging: {key: '1'}}}\n", want: []string{"trackers.heap.staging", "is the production account"}},
		"secret inline":    {file: "trackers: {ga4: {production: {key: G-1, secret: hunter2}}}\n", want: []string{`unknown setting "secret"`}},
		"secret of nobody": {file: "trackers: {ga4: {production: {secret_file: x}}}\n", want: []string{"trackers.ga4.production.secret_file", "neither key nor url"}},
		"part of nothing":  {file: "trackers: {ga4: {staging: {mode: 0%}}}\n", want: []string{`"0%": want send, dry-run, or a part`}},
		"mode of no kind":  {environ: []string{"SPARROW_TRACKERS_HEAP_STAGING_MODE=some"}, want: []string{"SPARROW_TRACKERS_HEAP_STAGING_MODE", "want send"}},
		"beyond the rates": {file: "trackers: {heap: {pacing: false, production: {key: '1'}}}\n", want: []string{"trackers.heap.pacing", "documented rates"}},
		"webhook's header": {file: "trackers: {webhook: {webhook: {headers: [hunter2], fields: [x]}}}\n", want: []string{"trackers.webhook.webhook.headers", "trackers.webhook.webhook.fields"}},
		"tracker's name":   {file: "trackers: {'a b': {calls: 1}}\n", want: []string{"trackers.a b", "a tracker's name is"}},
		"password is kept": {file: "warehouse: {url: 'http://u:hunter2@h:1'}\n", want: []string{"warehouse.url"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "missing.yaml")
			if c.file != "-" {
				path = write(t, c.file)
			}
			cfg, err := Load(path, c.environ)
			if err == nil {
				err = cfg.Validate()
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not say %q:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error prints a password: %v", err)
			}
		})
	}
}

func TestDefaultsAreValid(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestNoFileIsFineUnlessNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(DefaultFile, []byte("data: elsewhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = Load("", nil); err != nil || c.Data != "elsewhere" {
		t.Errorf("sparrow.yaml in the current folder: data %q, %v", c.Data, err)
	}
}

func TestSnapshot(t *testing.T) {
	c := Default()
	c.Clients.Listen, c.Journal.MaxAge, c.Telemetry.SentryDSN = ":1", Duration(90*time.Minute), "https://key@sentry.example/1"
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := c.WriteSnapshot(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the snapshot: %v, %v", info.Mode(), err)
	}
	got, err := LoadSnapshot(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	// Another build may know other settings.
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data = append(bytes.Replace(data, []byte("journal:\n"), []byte("journal:\n    compaction: zstd\n"), 1), "teleport:\n    enabled: true\n"...)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err = LoadSnapshot(path); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if _, err := Load(path, nil); err == nil {
		t.Error("what a person wrote must be strict")
	}
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "7": 7, "512KiB": 512 << 10, "1 MiB": 1 << 20, "20GiB": 20 << 30, "1MB": 1e6, "5B": 5} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("size %q: %d, %v, want %d", text, got, err, want)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("size %q prints as %q, which reads as %d, %v", text, got, again, err)
		}
	}
	for text, want := range map[string]time.Duration{"250ms": 250 * time.Millisecond, "72h": 72 * time.Hour, "90d": 90 * 24 * time.Hour, "1h30m": 90 * time.Minute, "10s": 10 * time.Second, "0s": 0} {
		got, err := ParseDuration(text)
		if err != nil || time.Duration(got) != want {
			t.Errorf("duration %q: %s, %v, want %s", text, got, err, want)
		}
		if again, err := ParseDuration(got.String()); err != nil || again != got {
			t.Errorf("duration %q prints as %q, which reads as %s, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "1", "-1s", "d", "1.5d", "1w"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("duration %q: %s, want an error", text, d)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, c := range []struct{ listen, base, want string }{
		{"", "http://127.0.0.1:8083", "127.0.0.1:8083"},
		{":9", "http://127.0.0.1:8083", ":9"},
		{"", "http://stack.example", ""},
	} {
		got, err := Address(c.listen, c.base)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("listen %q, url %q: %q, %v", c.listen, c.base, got, err)
		}
	}
}

func TestComparedStages(t *testing.T) {
	c, err := Load("", nil)
	if err != nil || c.Compare.Named() != nil {
		t.Errorf("by default %q, %v; want none by name, which is all", c.Compare.Named(), err)
	}
	c, err = Load("", []string{"SPARROW_COMPARE_STAGES=trace,ga4"})
	if want := []warehouse.Stage{"trace", "ga4"}; err != nil || !slices.Equal(c.Compare.Named(), want) {
		t.Errorf("%q, %v; want %q", c.Compare.Named(), err, want)
	}
}
