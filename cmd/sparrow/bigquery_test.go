package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

// bigQuery returns settings for the server that the environment names, as make test-bigquery needs it; otherwise for a
// fake of our own, whose reads are DuckDB's.
func bigQuery(t testing.TB) (text, prefix string) {
	t.Helper()
	project, endpoint, grpc := os.Getenv("SPARROW_BIGQUERY_PROJECT"), os.Getenv("SPARROW_BIGQUERY_ENDPOINT"), os.Getenv("SPARROW_BIGQUERY_GRPC")
	prefix = "shop_"
	if project != "" {
		prefix = fmt.Sprintf("sparrow_test_%d_", time.Now().UnixMicro())
		t.Logf("the datasets whose names begin with %s stay: delete them when they are not needed any more", prefix)
	} else {
		server, err := fake.Start(fake.Options{Hidden: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		project, endpoint, grpc = "project", server.REST(), server.GRPC()
	}
	return fmt.Sprintf("warehouse: {engine: bigquery}\nbigquery: {project: %q, prefix: %q, location: %q, credentials_file: %q, endpoint: %q, grpc: %q}\n",
		project, prefix, os.Getenv("SPARROW_BIGQUERY_LOCATION"), os.Getenv("SPARROW_BIGQUERY_CREDENTIALS_FILE"), endpoint, grpc), prefix
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// With BigQuery as the warehouse: events, PASS, a cutover amid further events, and then a candidate that forgets events, which
// FAILs and is refused the next cutover.
func TestProofBigQuery(t *testing.T) {
	text, prefix := bigQuery(t)
	s := up(t, "--config", settings(t, noTrackers(t), noTrackers(t), text))
	n := choose(200, 20_000)
	send := func(seed int) {
		s.must("send", "--generate", fmt.Sprint(n), "--seed", fmt.Sprint(seed), "--batch", "20", "--acks", t.TempDir()+"/acks")
	}
	// counted wants each of the datasets to hold so many events, once each.
	counted := func(want int, names ...string) {
		t.Helper()
		for _, name := range names {
			rows := s.query("SELECT COUNT(*) AS n, COUNT(DISTINCT eventId) AS ids FROM " + prefix + name + ".raw")
			if got := strings.Join(rows[0], " "); got != fmt.Sprintf("%d %d", want, want) {
				t.Errorf("%s holds %s rows and events, want %d", name, got, want)
			}
		}
	}
	s.must("deploy", "candidate")
	send(1)
	out, status := s.run("compare", "--wait", "5m")
	if status != 0 {
		t.Fatalf("the same build: exit status %d, want 0\n%s", status, out)
	}
	counted(n, "green", "blue", "live", "staging")
	accepted := s.status().Accepted.Requests
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if out, status := s.run("send", "--generate", fmt.Sprint(n), "--seed", "2", "--batch", "4", "--connections", "1", "--rate", fmt.Sprint(n/2)); status != 0 {
			t.Errorf("events during a cutover: exit status %d\n%s", status, out)
		}
	}()
	s.await("some of the next events are in", time.Minute, func() error {
		if s.status().Accepted.Requests == accepted {
			return errors.New("none is")
		}
		return nil
	})
	s.must("deploy", "cutover", "--reason", "passed")
	<-sent
	s.settled()
	counted(2*n, "green", "blue", "live", "staging")
	// Both stacks are in live, one after the other.
	parts := s.query("SELECT stack, COUNT(*) AS n, MIN(frame) AS `first`, MAX(frame) AS `last` FROM " + prefix + "live.raw GROUP BY stack ORDER BY `first`")
	if len(parts) != 2 || parts[0][0] != "green" || parts[1][0] != "blue" || number(t, parts[0][3]) >= number(t, parts[1][2]) || number(t, parts[0][1]) <= n {
		t.Errorf("live.raw is %v, want green's frames and then blue's, with events of both sides of the cutover sent together", parts)
	}
	if st := s.status(); st.Live != "blue" {
		t.Errorf("%s is live after the cutover", st.Live)
	}
	// The allowlist grows: so does raw_normalized, of what was stored before, too.
	s.must("trace", "reload", "--stack", "green", write(t, "wider.yaml",
		"sources: {dev: {keys: [dev], origins: [none]}}\nevents: {pageview: {properties: {pathname: url, duration: integer}}}\n"))
	s.await("raw_normalized has a new column", 2*time.Minute, func() error {
		if out, status := s.run("query", "SELECT COUNT(duration) AS n FROM "+prefix+"green.raw_normalized"); status != 0 {
			return fmt.Errorf("exit status %d\n%s", status, out)
		}
		return nil
	})
	if s.number("SELECT COUNT(duration) AS n FROM "+prefix+"green.raw_normalized") == 0 {
		t.Error("raw_normalized has no durations")
	}
	s.must("deploy", "candidate", "--binary", binary(t, "./testdata/candidates/forgets"))
	send(3)
	out, status = s.run("compare", "--wait", "5m")
	if status != 1 || !strings.Contains(out, "signup") {
		t.Fatalf("a candidate that forgets: exit status %d, want 1 and the event's name\n%s", status, out)
	}
	if _, status := s.run("deploy", "cutover", "--reason", "failed"); status == 0 {
		t.Error("a cutover went through on a FAIL")
	}
	counted(3*n, "blue", "live")
	if forgotten := s.number("SELECT COUNT(*) AS n FROM " + prefix + "live.raw AS l LEFT JOIN " + prefix + "staging.raw AS s ON s.eventId = l.eventId WHERE s.eventId IS NULL AND l.event = 'signup'"); forgotten == 0 {
		t.Error("the candidate forgot nothing")
	}
}

// Events come on two days, and BigQuery deletes the first of them. A comparison that reaches into it is INCONCLUSIVE, though
// the digests of that day are kept and said PASS before; one that begins after it is judged as ever.
func TestProofExpiredDaysOfBigQuery(t *testing.T) {
	server, err := fake.Start(fake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	// Not the server that the environment names, if it does: its clock cannot be set.
	for name, value := range map[string]string{"PROJECT": "project", "ENDPOINT": server.REST(), "GRPC": server.GRPC()} {
		t.Setenv("SPARROW_BIGQUERY_"+name, value)
	}
	s := up(t, "--config", settings(t, noTrackers(t), noTrackers(t), "warehouse: {engine: bigquery, retention: {raw: 3, outcomes: 3}}\n"))
	const n = 200
	s.must("deploy", "candidate")
	send := func(seed string) (last int) {
		s.must("send", "--generate", fmt.Sprint(n), "--seed", seed, "--batch", "20")
		s.settled()
		s.must("compare", "--wait", "2m") // outcomes are there then, and digests
		return s.number("SELECT MAX(frame) AS n FROM green.raw")
	}
	last := send("1")
	// They came two days ago, and so did what the marks tell of them.
	for _, table := range []string{"green.raw_log", "green.outcomes_log", "blue.raw_log", "blue.outcomes_log"} {
		if err := server.Exec(t.Context(), fmt.Sprintf(`UPDATE project.%s SET "timestamp" = "timestamp" - INTERVAL 2 DAY, "cursorFrom" = "cursorFrom" - %d, "cursorTo" = "cursorTo" - %[2]d`, table, 48*time.Hour/time.Microsecond)); err != nil {
			t.Fatal(err)
		}
	}
	end := send("2")
	if got := s.number("SELECT COUNT(*) AS n FROM live.raw"); got != 2*n {
		t.Fatalf("%d rows of both days, want %d", got, 2*n)
	}
	if err := server.Advance(t.Context(), 48*time.Hour); err != nil { // the day and three after it are over
		t.Fatal(err)
	}
	if got := s.number("SELECT COUNT(*) AS n FROM live.raw"); got != n {
		t.Fatalf("%d rows are left, want the %d of the second day", got, n)
	}
	for _, args := range [][]string{{"compare"}, {"compare", "--exact"}, {"compare", "--window", fmt.Sprintf("%d..%d", last, last+1)}} {
		out, status := s.run(args...)
		if want := fmt.Sprintf("frame %d, were deleted (setting warehouse.retention); begin the window at frame %d or later", last, last+1); status != 3 || !strings.Contains(out, want) {
			t.Errorf("%v over the day that is gone: exit status %d, want 3 and %q\n%s", args, status, want, out)
		}
	}
	if _, status := s.run("deploy", "cutover", "--reason", "the day is gone"); status == 0 {
		t.Error("a cutover went through on rows that are gone")
	}
	if out, status := s.run("compare", "--window", fmt.Sprintf("%d..%d", last+1, end)); status != 0 || !strings.Contains(out, fmt.Sprintf("all %d events equal", n)) {
		t.Errorf("what is kept: exit status %d, want 0\n%s", status, out)
	}
	days := s.must("query", "--saved", "expired", "--format", "csv")
	for _, stack := range []string{"green", "blue"} {
		if want := fmt.Sprintf(",%s,raw,%d,", stack, n); !strings.Contains(days, want) {
			t.Errorf("the days that are gone: want %q\n%s", want, days)
		}
	}
}
