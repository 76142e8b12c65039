package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// series are what a scrape shows: name and labels.
type series struct {
	name   string
	labels map[string]string
}

var (
	seriesLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+$`)
	labelPair  = regexp.MustCompile(`([a-zA-Z_]+)(=~|!=|!~|=)"((?:[^"\\]|\\.)*)"`)
	selector   = regexp.MustCompile(`\b((?:sparrow|process|go)_[a-z0-9_]+)(\{[^}]*\})?`)
)

// scrape reads the metrics of a process.
func (s *sparrow) scrape(process string) (all []series) {
	s.t.Helper()
	for _, p := range s.ends.Processes {
		if p.Name != process {
			continue
		}
		resp, err := client.Get(p.URL + "/metrics")
		if err != nil {
			s.t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			m := seriesLine.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				continue
			}
			x := series{m[1], map[string]string{}}
			for _, l := range labelPair.FindAllStringSubmatch(m[2], -1) {
				x.labels[l[1]] = l[3]
			}
			all = append(all, x)
		}
	}
	return all
}

// matches reports whether a series is what a selector's labels ask for. job and instance are Prometheus' own.
func (x series) matches(t *testing.T, labels string) bool {
	for _, l := range labelPair.FindAllStringSubmatch(labels, -1) {
		if l[1] == "job" || l[1] == "instance" {
			continue
		}
		value, ok := x.labels[l[1]]
		fits := value == l[3]
		if strings.HasSuffix(l[2], "~") {
			re, err := regexp.Compile("^(?:" + l[3] + ")$")
			if err != nil {
				t.Errorf("label matcher %s: %v", l[0], err)
				return false
			}
			fits = re.MatchString(value)
		}
		if !ok || fits == strings.HasPrefix(l[2], "!") {
			return false
		}
	}
	return true
}

// Every metric and label that an alert names exists in a running mirror, each alternative of a pattern included; every
// alert is explained; and every metric of ours is described.
func TestAlertsAndMetricsAreDocumented(t *testing.T) {
	s := up(t)
	if _, status := s.post([]byte(`{"event":"x","deviceId":"d","properties":{}}`)); status != 200 {
		t.Fatalf("answered %d", status)
	}
	s.settled()
	shown := s.scrape("mirror")
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../deploy/prometheus/sparrow.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	dec.KnownFields(true)
	if err := dec.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			alerts++
			if r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("alert %q lacks its name, severity or summary", r.Alert)
			}
			if !strings.Contains(string(page), "\n| "+r.Alert+" | ") {
				t.Errorf("docs/operations.md does not explain %s", r.Alert)
			}
			if strings.Count(r.Expr, "(") != strings.Count(r.Expr, ")") {
				t.Errorf("%s: %s", r.Alert, r.Expr)
			}
			found := selector.FindAllStringSubmatch(r.Expr, -1)
			if len(found) == 0 && r.Expr != `up{job="sparrow-mirror"} == 0` {
				t.Errorf("%s names no metric: %s", r.Alert, r.Expr)
			}
			for _, m := range found {
				for _, labels := range alternatives(m[2]) {
					exists := false
					for _, x := range shown {
						exists = exists || x.name == m[1] && x.matches(t, labels)
					}
					if !exists && !(m[1] == "sparrow_failures_total" || strings.Contains(labels, "!=")) {
						t.Errorf("%s: the mirror shows no %s%s", r.Alert, m[1], labels)
					}
				}
			}
		}
	}
	if n := strings.Count(string(page), "\n| Sparrow"); n != alerts {
		t.Errorf("docs/operations.md explains %d alerts, there are %d", n, alerts)
	}
	for _, x := range shown {
		name := x.name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if (strings.HasPrefix(name, "sparrow_mirror_") || strings.HasPrefix(name, "sparrow_journal_")) && !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/operations.md does not describe %s", name)
		}
	}
}

// alternatives splits the first pattern a|b|c among labels into one set of labels for each.
func alternatives(labels string) (all []string) {
	for _, l := range labelPair.FindAllStringSubmatch(labels, -1) {
		if l[2] == "=~" {
			for one := range strings.SplitSeq(l[3], "|") {
				all = append(all, strings.Replace(labels, l[0], l[1]+`="`+one+`"`, 1))
			}
			return all
		}
	}
	return []string{labels}
}
