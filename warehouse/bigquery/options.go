package bigquery

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Options configure Open. Every zero value means its default.
type Options struct {
	Project     string // that holds the datasets and pays; required
	Prefix      string // before the names of the datasets green, blue, live, staging and sparrow; empty: none
	Location    string // of datasets that are made, as EU; empty: as BigQuery has it
	Credentials string // service-account file; empty: application default credentials, or none for endpoints of one's own

	Endpoint string // REST API of another server, as http://127.0.0.1:9050; empty: Google's
	GRPC     string // Storage API of another server, as 127.0.0.1:9060, without TLS; empty: Google's

	Telemetry *telemetry.Telemetry // nil: nobody listens

	QueueBytes   int64         // bytes of batches that may wait per stack and table; 64 MiB
	QueueBatches int           // batches that may wait per stack and table; 1,024
	AppendBytes  int           // bytes of one append; 8 MiB; BigQuery takes less than 10 MB
	CallTimeout  time.Duration // for one append to be answered; 30 s
	Patience     time.Duration // for which an append whose outcome is unknown is sent again before its callers are told; 20 s

	Queries    int           // queries that run at the same time; others wait; 4
	Limit      int           // rows in an answer that names no limit; 100,000
	MaxWait    time.Duration // for a query, reading its answer included, if it names no shorter time; 1 min
	MaxScanned int64         // bytes that one query may be billed for; 100 GiB

	Retention Retention // how long rows are kept; for ever

	DigestFrames uint64 // frames that a digest covers; 1,024; the same for as long as the datasets are there

	eraseTimeout time.Duration // for one statement of an erasure; 20 min
	looked       func()        // called after an erasure has looked and before it buries; for tests
	restTimeout  time.Duration // for one REST call of ours, its repetitions by the client library included; 1 min
	firstPause   time.Duration // before what failed is tried again, then twice as long each time; 100 ms
}

// Retention is for how many whole days before today rows are kept, by the time of their event; 0: tables stay as they are,
// which is for ever unless somebody set them otherwise.
type Retention struct{ Raw, Outcomes int }

// days is after how many days BigQuery deletes a partition of a table, counted from the day's beginning; 0: not by us.
func (r Retention) days(t table) int {
	keep := 0
	switch log(t.name) {
	case rawLog:
		keep = r.Raw
	case outcomesLog, correctionsLog:
		keep = r.Outcomes
	}
	if keep <= 0 {
		return 0
	}
	return keep + 1 // the day itself
}

var (
	projectForm = regexp.MustCompile(`^[a-z][a-z0-9.:-]*[a-z0-9]$`)
	prefixForm  = regexp.MustCompile(`^[A-Za-z0-9_]{0,64}$`)
	placeForm   = regexp.MustCompile(`^[A-Za-z0-9-]*$`)
)

// maxAppend is what an append may have at most, with room for what is around the rows: BigQuery takes less than 10 MB.
const maxAppend = 9_500_000

// maxKept bounds retention, in days: a table has 10,000 partitions at most, expired ones count for two weeks more.
const maxKept = 9_900

func (o *Options) applyDefaults() error {
	switch {
	case o.Project == "":
		return errors.New("warehouse: Project is required: name the Google Cloud project")
	case !projectForm.MatchString(o.Project):
		return fmt.Errorf("warehouse: project %q: want a project id, as my-project-1", o.Project)
	case !prefixForm.MatchString(o.Prefix):
		return fmt.Errorf("warehouse: dataset prefix %q: want letters, digits and underscores", o.Prefix)
	case !placeForm.MatchString(o.Location):
		return fmt.Errorf("warehouse: location %q: want a region, as EU or europe-west1", o.Location)
	case (o.Endpoint == "") != (o.GRPC == ""):
		return fmt.Errorf("warehouse: endpoint %q and Storage API %q: name both or neither, or rows would go to one server and be read from another", o.Endpoint, o.GRPC)
	case o.Retention.Raw < 0 || o.Retention.Outcomes < 0 || o.Retention.Raw > maxKept || o.Retention.Outcomes > maxKept:
		return fmt.Errorf("warehouse: retention of %d and %d days: want 0 to %d", o.Retention.Raw, o.Retention.Outcomes, maxKept)
	case o.AppendBytes > maxAppend:
		return fmt.Errorf("warehouse: appends of %d bytes: BigQuery takes %d at most", o.AppendBytes, maxAppend)
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	def(&o.QueueBytes, 64<<20)
	def(&o.QueueBatches, 1024)
	def(&o.AppendBytes, 8<<20)
	def(&o.CallTimeout, 30*time.Second)
	def(&o.Patience, 20*time.Second)
	def(&o.Queries, 4)
	def(&o.Limit, 100_000)
	def(&o.MaxWait, time.Minute)
	def(&o.MaxScanned, 100<<30)
	def(&o.eraseTimeout, 20*time.Minute)
	def(&o.DigestFrames, warehouse.DigestFrames)
	def(&o.restTimeout, time.Minute)
	def(&o.firstPause, 100*time.Millisecond)
	return nil
}

func def[T comparable](v *T, d T) {
	if *v == *new(T) {
		*v = d
	}
}
