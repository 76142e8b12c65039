package sparrow

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sparrowhq/sparrow/"

// allowed states which of our packages a package may import, each with the reason. Imports follow the data: from the
// leaves (event, telemetry) through journal and warehouse to the processes, and cmd ties them together.
var allowed = map[string]map[string]string{
	"event":           {},
	"event/body":      {},
	"telemetry":       {},
	"service":         {"telemetry": "a handler's panic is reported"},
	"service/reserve": {},
	"journal": {
		"event":     "frames and control records are what it keeps",
		"service":   "durable replacement of small files",
		"telemetry": "the embedded server's messages and metrics",
	},
	"warehouse":          {"event": "rows are keyed by position"},
	"warehouse/contract": {"event": "", "warehouse": "the suite runs against the interface"},
	"warehouse/duckdb": {
		"event":           "positions and the timeline's spans",
		"warehouse":       "it is an engine",
		"warehouse/rules": "what a batch may do",
		"telemetry":       "metrics",
		"service":         "",
	},
	"warehouse/rules": {
		"event":     "positions and the timeline",
		"warehouse": "batches are what it judges; it is pure, so that every engine decides the same",
	},
	"warehouse/bigquery": {
		"event":           "positions and the timeline's spans",
		"warehouse":       "it is an engine",
		"warehouse/rules": "what a batch may do",
		"telemetry":       "metrics",
	},
	"warehouse/bigquery/fake": {},
	"warehouse/bigquery/fake/serve": {
		"warehouse/bigquery/fake": "it runs one as a process",
	},
	"warehouse/export": {
		"warehouse":        "it reads a day through its queries",
		"warehouse/duckdb": "who writes Parquet",
		"service":          "durable replacement of small files",
	},
	"warehouse/served": {
		"event":     "batches carry positions",
		"warehouse": "it serves an engine and is one",
		"service":   "its HTTP face",
		"telemetry": "",
	},
	"mirror": {
		"event":     "frames",
		"journal":   "where requests become durable",
		"service":   "its HTTP face",
		"telemetry": "",
	},
	"mirror/peers": {"event": "its back ends take deliveries", "service/reserve": "addresses for the programs it starts"},
	"delivery": {
		"event":     "deliveries are what it takes",
		"warehouse": "the errors that an answer tells apart",
		"service":   "answers",
		"telemetry": "",
	},
	"dispatcher": {
		"event":      "frames",
		"delivery":   "how deliveries are taken",
		"event/body": "decoding and splitting, which trace does the same way",
		"warehouse":  "where raw rows go",
		"service":    "its HTTP face",
		"telemetry":  "",
	},
	"trace": {
		"event":          "frames",
		"delivery":       "how deliveries are taken",
		"warehouse":      "where outcomes go",
		"service":        "its HTTP face",
		"telemetry":      "",
		"trace/pipeline": "what may leave",
		"trace/tracker":  "who sends it",
		"trace/backlog":  "where it is kept until everybody has it",
	},
	"trace/backlog": {
		"event":          "messages have positions",
		"warehouse":      "outcomes are kept as they will be appended",
		"trace/pipeline": "events are kept in its encoding",
		"trace/tracker":  "sinks and results have its words",
	},
	"trace/pipeline": {
		"event":      "positions, requests and ids; it is pure, so nothing that logs, counts or stores",
		"event/body": "a body is split as in the dispatcher, or positions would not agree",
	},
	"trace/tracker": {
		"event":              "results are of positions",
		"trace/pipeline":     "it sends what the pipeline lets through",
		"telemetry":          "outages and refusals are reported",
		"trace/tracker/wire": "the spellings that a secret has in JSON",
	},
	"trace/tracker/contract": {
		"trace/pipeline":       "events to put into a vendor's form",
		"trace/tracker":        "the suite runs against Vendor",
		"trace/sandbox":        "the other side",
		"trace/sandbox/record": "what arrived there",
	},
	"trace/census": {
		"event":     "positions",
		"warehouse": "it reads rows and cursors",
	},
	"trace/tracker/wire":      {},
	"trace/tracker/ga4":       vendorRules,
	"trace/tracker/heap":      vendorRules,
	"trace/tracker/amplitude": vendorRules,
	"trace/tracker/webhook":   vendorRules,
	"compare": {
		"event":     "positions, totals, builds",
		"warehouse": "it reads both datasets; compare only reads",
	},
	"cmd/config":     {"event": "one section for each stack", "service": "secrets are files", "trace/sandbox": "its limits are settings", "warehouse": "names of stages"},
	"cmd/builds":     {"event": "builds have ids", "service": "durable replacement of small files"},
	"cmd/pipelines":  {"event": "one for each stack", "service": "durable replacement of small files", "trace/pipeline": "a file is checked before it is kept"},
	"cmd/send":       {"event": "eventIds of what was acknowledged", "event/body": "how many events a line holds"},
	"cmd/supervisor": {"telemetry": "what became of the children"},
	"cmd/terminal":   {},
	"docs":           {},
	"cmd/saved":      {"docs": "the page is the queries' only source", "warehouse": "which SQL its engine is asked in"},
	"trace/sandbox": {
		"service":                "its HTTP face",
		"telemetry":              "metrics",
		"trace/sandbox/record":   "what arrived",
		"trace/sandbox/scenario": "what goes wrong",
	},
	"trace/sandbox/record":   {},
	"trace/sandbox/scenario": {},
	"deploy": {
		"event":     "control records",
		"compare":   "evidence is judged again under the server's policy",
		"service":   "its HTTP face",
		"telemetry": "",
	},
}

// vendorRules hold for each vendor: pure functions, so nothing that logs, counts, stores or sends.
var vendorRules = map[string]string{
	"trace/pipeline":     "its events are what it puts into the vendor's form",
	"trace/tracker":      "it implements Vendor",
	"trace/tracker/wire": "JSON that keeps every byte",
}

// free packages tie the others together and may import any of them.
var free = []string{"cmd", "cmd/sparrow"}

func TestImportsFollowTheData(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(p.ImportPath, module)
		if !ok {
			continue // this folder
		}
		seen[name] = true
		if slices.Contains(free, name) {
			continue
		}
		rules, ok := allowed[name]
		if !ok {
			t.Errorf("package %s has no rule here: say what it may import and why", name)
			continue
		}
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, module); ok {
				if _, ok := rules[ours]; !ok {
					t.Errorf("%s imports %s, which no rule allows", name, ours)
				}
			}
		}
	}
	for name, rules := range allowed {
		if !seen[name] {
			t.Errorf("the rules name package %s, which does not exist", name)
		}
		for imp := range rules {
			if !seen[imp] {
				t.Errorf("the rule of %s names package %s, which does not exist", name, imp)
			}
		}
	}
}
