package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// realData returns the folder of extra real data, which is not part of this repository.
func realData(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("SPARROW_TEST_DATA")
	if dir == "" {
		t.Skip("needs SPARROW_TEST_DATA: a folder with <set>/events.ndjson and payloads/")
	}
	return dir
}

// names returns the event name of each line of an ndjson file.
func names(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []string
	in := bufio.NewScanner(f)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e struct{ Event string }
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			t.Fatalf("%s: line %d: %v", path, len(all)+1, err)
		}
		all = append(all, e.Event)
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// perEvent returns the rows and the distinct ids per event name of a dataset.
func (s *sparrow) perEvent(dataset string) map[string]int {
	s.t.Helper()
	counts := map[string]int{}
	for _, row := range s.query(`SELECT event, count(*), count(DISTINCT "eventId") FROM ` + dataset + `.raw GROUP BY event`) {
		if row[1] != row[2] {
			s.t.Errorf("%s: event %q: %s rows for %s ids", dataset, row[0], row[1], row[2])
		}
		var n int
		fmt.Sscan(row[1], &n)
		counts[row[0]] = n
	}
	return counts
}

// Real events sent whole, in batches in the short form: the counts of each name are equal in the acknowledgements and in both datasets, and compare
// says PASS.
func TestProofRealDataWhole(t *testing.T) {
	data := realData(t)
	s := up(t)
	s.must("deploy", "candidate")
	want := map[string]int{}
	for _, set := range []string{"wikiticker", "waves", "readers"} {
		input, acked := filepath.Join(data, set, "events.ndjson"), filepath.Join(t.TempDir(), "acks")
		s.must("send", "--input", input, "--batch", strconv.Itoa(choose(20, 0)), "--connections", "32", "--acks", acked)
		lines := names(t, input)
		got := acks(t, acked)
		if len(got) != len(lines) {
			t.Fatalf("%s: %d of %d events acknowledged", set, len(got), len(lines))
		}
		for _, line := range got {
			want[lines[line-1]]++
		}
	}
	out := s.must("compare", "--wait", "5m")
	t.Logf("%s", out)
	for _, dataset := range []string{"live", "staging"} {
		if got := s.perEvent(dataset); !maps.Equal(got, want) {
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if got[name] != want[name] {
					t.Errorf("%s: event %q: %d rows, %d acknowledged", dataset, name, got[name], want[name])
				}
			}
		}
	}
}

// expectedRows says, with the standard library's decoder instead of ours, which slices a body must be stored as.
func expectedRows(body []byte) []string {
	if !json.Valid(body) {
		return nil
	}
	trimmed := string(bytes.Trim(body, " \t\r\n"))
	list := func(raw []byte) []string {
		var items []json.RawMessage
		if raw == nil || json.Unmarshal(raw, &items) != nil || items == nil {
			return []string{trimmed}
		}
		if len(items) == 0 {
			return []string{trimmed}
		}
		var rows []string
		for _, item := range items {
			rows = append(rows, string(item))
		}
		return rows
	}
	switch trimmed[0] {
	case '[':
		return list(body)
	case '{':
		var envelope map[string]json.RawMessage
		if json.Unmarshal(body, &envelope) != nil {
			return nil
		}
		if batch := envelope["batch"]; len(batch) > 0 && batch[0] == '[' {
			return list(batch)
		}
	}
	return []string{trimmed}
}

// Every messy payload, whole and damaged, plain and gzipped: answered, stored exactly, both sides equal, nothing dies.
func TestProofRealDataPayloads(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(realData(t), "payloads", "*.*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no payloads: %v", err)
	}
	s := up(t)
	s.must("deploy", "candidate")
	pids := map[string]int{}
	for _, p := range s.ends.Processes {
		pids[p.Name] = p.PID
	}

	type sent struct {
		what     string
		wire     []byte   // as sent
		rows     []string // nil: one row, the bytes as sent
		requests string
	}
	var all []sent
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		variants := map[string][]byte{
			"whole":   body,
			"cut":     body[:len(body)/2],
			"nul":     slices.Concat(body[:len(body)/3], []byte{0}, body[len(body)/3:]),
			"invalid": slices.Concat(body[:len(body)/3], []byte{0xff, 0xc3, 0x28}, body[len(body)/3:]),
		}
		for kind, plain := range variants {
			for _, zip := range []bool{false, true} {
				v := sent{what: filepath.Base(f) + " " + kind, wire: plain, rows: expectedRows(plain)}
				var header []string
				if zip {
					var buf bytes.Buffer
					w := gzip.NewWriter(&buf)
					w.Write(plain)
					w.Close()
					v.what, v.wire, header = v.what+" gzipped", buf.Bytes(), []string{"Content-Encoding", "gzip"}
				}
				id, code := s.post(v.wire, header...)
				if code != 200 {
					t.Errorf("%s: answered %d", v.what, code)
					continue
				}
				v.requests = id
				all = append(all, v)
				if zip { // and the gzip stream itself cut short
					v.what, v.wire, v.rows = v.what+" torn", v.wire[:len(v.wire)-len(v.wire)/3-1], nil
					if v.requests, code = s.post(v.wire, header...); code != 200 {
						t.Errorf("%s: answered %d", v.what, code)
						continue
					}
					all = append(all, v)
				}
			}
		}
	}
	out := s.must("compare", "--wait", "2m")
	t.Logf("%d bodies sent\n%s", len(all), out)

	for _, dataset := range []string{"live", "staging"} {
		stored := map[string][]string{}
		for _, row := range s.query(`SELECT "eventId", hex(coalesce("dataBytes", encode(data))) FROM ` + dataset + `.raw ORDER BY frame, request, item`) {
			data, err := hex.DecodeString(row[1])
			if err != nil {
				t.Fatal(err)
			}
			stored[row[0][:36]] = append(stored[row[0][:36]], string(data))
		}
		if len(stored) != len(all) {
			t.Errorf("%s holds %d requests, %d were sent", dataset, len(stored), len(all))
		}
		for _, v := range all {
			want := v.rows
			if want == nil {
				want = []string{string(v.wire)}
			}
			if got := stored[v.requests]; !slices.Equal(got, want) {
				t.Errorf("%s: %s: stored as %d rows, want %d; first differs: %.80q, want %.80q", dataset, v.what, len(got), len(want),
					strings.Join(got, "|"), strings.Join(want, "|"))
			}
		}
	}
	for name, pid := range pids {
		if now := s.pid(name); now != pid {
			t.Errorf("%s died: pid %d became %d", name, pid, now)
		}
	}
}
