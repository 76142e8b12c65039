package served_test

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
	"github.com/sparrowhq/sparrow/warehouse/served"
	"net/http/httptest"
)

func TestSmoke(t *testing.T) {
	d, err := duckdb.Open(duckdb.Options{Path: filepath.Join(t.TempDir(), "w", "w.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(served.Handler(served.Options{Warehouse: d, Secret: "s"}))
	defer srv.Close()
	e, err := served.New(served.ClientOptions{URL: srv.URL, Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	c := event.Control{Format: 1, Generation: 1, Kind: event.Initial, Live: event.Green, At: 5}
	b, _ := c.Encode()
	cur, err := e.Append(t.Context(), &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", To: event.AfterFrame(3),
		Controls: []*event.ControlEntry{{Sequence: 1, Record: b}},
		Rows: []warehouse.Row{
			{Position: event.Position{Frame: 2}, EventID: "a", Timestamp: 12345678, Event: "e", Data: []byte("x\x00y"), ItemsInRequest: 1, Build: "b", Context: []byte("{}")},
			{Position: event.Position{Frame: 3}, EventID: "b", Timestamp: -1, Event: "", Data: []byte("\xff"), ItemsInRequest: 1, Build: "b", Context: []byte("{}")},
		}})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(cur)
	for _, q := range []string{"SELECT * FROM live.raw", "SELECT * FROM journals", "SELECT * FROM cursors", "SELECT * FROM timeline", "SELECT [1,2] AS a, {'x': 1.5::DECIMAL(9,3)} AS a, INTERVAL 3 DAY, uuid(), 'x'::JSON, sum(5) FROM range(3)", "SELECT count(*) FROM staging.raw", "EXPLAIN SELECT 1",
		"DESCRIBE live.raw", "SHOW TABLES", "SUMMARIZE cursors", "SELECT 1; SELECT 2", "DELETE FROM cursors", "SELECT ?::INT", ""} {
		rows, err := e.Query(t.Context(), warehouse.Query{SQL: q})
		if err != nil {
			fmt.Println(q, err)
			continue
		}
		fmt.Println(rows.Columns)
		for {
			r, err := rows.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			fmt.Printf("%#v\n", r)
		}
		rows.Close()
	}
	fmt.Println(e.Close(), d.Close())
}
