package duckdb

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestScratch(t *testing.T) {
	db, err := openNative(os.Getenv("SCRATCH_DB"), map[string]string{"threads": "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	c, _ := db.connect()
	defer c.close()
	data, _ := os.ReadFile(os.Getenv("SCRATCH_SQL"))
	for _, s := range strings.Split(string(data), ";\n") {
		if strings.TrimSpace(s) == "" {
			continue
		}
		use := func() float64 {
			var u syscall.Rusage
			syscall.Getrusage(syscall.RUSAGE_SELF, &u)
			return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
		}
		b := use()
		var last []any
		err := c.rows(s, nil, func(r []any) error { last = r; return nil })
		fmt.Printf("%8.1f ms  %.110s -> %v %v\n", use()-b, strings.ReplaceAll(s, "\n", " "), last, err)
	}
}
