package pipeline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// testData is where more real data lies; without it the test is skipped.
func testData(t testing.TB) string {
	dir := os.Getenv("SPARROW_TEST_DATA")
	if dir == "" {
		t.Skip("SPARROW_TEST_DATA is not set")
	}
	return dir
}

func firstLines(t testing.TB, name string, n int) (lines [][]byte) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() && (n == 0 || len(lines) < n) {
		lines = append(lines, bytes.Clone(s.Bytes()))
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// What learn proposes from real events lets all of them pass, and what passes is what was sent: every listed property
// that the scrubber had no business with, byte by byte.
func TestRealDataPassesWhatLearnProposes(t *testing.T) {
	dir := testData(t)
	for _, set := range []string{"wikiticker", "waves", "readers"} {
		t.Run(set, func(t *testing.T) {
			most := 2_000
			if os.Getenv("SPARROW_SOAK") != "" {
				most = 0 // all of them take minutes with the race detector
			}
			rows := firstLines(t, filepath.Join(dir, set, "events.ndjson"), most)
			proposal := Learn(func(yield func([]byte) bool) {
				for _, row := range rows {
					if !yield(row) {
						return
					}
				}
			}, LearnOptions{Events: 400})
			c, err := ParseConfig(proposal.YAML())
			if err != nil {
				t.Fatal(err)
			}
			p, err := New(Options{Config: c, Secret: make([]byte, 16)})
			if err != nil {
				t.Fatal(err)
			}
			var b Batch
			rejected, scrubbed, kept := 0, 0, 0
			for i, row := range rows {
				b.Reset()
				r := without(request(string(row)), "Origin")
				r.Query = []byte("k=development")
				p.Process(uint64(i), 0, r, &b)
				if len(b.Outcomes) != 1 || len(b.Faults) != 0 {
					t.Fatalf("%+v", b)
				}
				if b.Outcomes[0].Result != Accepted {
					rejected++
					continue
				}
				var sent struct{ Properties map[string]json.RawMessage }
				if err := json.Unmarshal(row, &sent); err != nil {
					t.Fatal(err)
				}
				touched := map[string]bool{}
				for _, one := range b.Touched {
					touched[one.Field] = true
				}
				for _, one := range b.Events[0].Properties {
					want, flat := sent.Properties[one.Name]
					switch {
					case touched[one.Name]:
						scrubbed++
						if bytes.Equal(want, one.Value) {
							t.Errorf("%s is said to be scrubbed and is not", one.Name)
						}
					case flat:
						kept++
						if !bytes.Equal(want, one.Value) {
							t.Errorf("%s was sent as %s and is %s", one.Name, want, one.Value)
						}
					}
				}
			}
			t.Logf("%d events: %d rejected, %d properties as they were sent, %d scrubbed", len(rows), rejected, kept, scrubbed)
			if rejected != proposal.Overflow {
				t.Errorf("%d rejected, %d have names that are not listed", rejected, proposal.Overflow)
			}
			if kept == 0 {
				t.Error("nothing was compared")
			}
		})
	}
}

func BenchmarkRealData(b *testing.B) {
	rows := firstLines(b, filepath.Join(testData(b), "wikiticker", "events.ndjson"), 5000)
	proposal := Learn(func(yield func([]byte) bool) {
		for _, row := range rows {
			yield(row)
		}
	}, LearnOptions{})
	p, err := New(Options{Config: proposal.Config, Secret: make([]byte, 16)})
	if err != nil {
		b.Fatal(err)
	}
	var batch Batch
	before, i := cpuTime(b), 0
	for b.Loop() {
		batch.Reset()
		r := without(request(string(rows[i%len(rows)])), "Origin")
		r.Query = []byte("k=development")
		p.Process(1, 0, r, &batch)
		i++
	}
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/event")
}
