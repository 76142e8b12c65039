package send

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/google/uuid"
)

// BenchmarkSend measures the sender against a server that does nothing but answer: the ceiling of what it can load a
// mirror with, server included.
func BenchmarkSend(b *testing.B) {
	id := uuid.Must(uuid.NewV7()).String()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Sparrow-Request-Id", id)
		io.WriteString(w, "OK")
	})}
	go srv.Serve(l)
	defer srv.Close()
	for _, connections := range []int{1, 32, 256} {
		b.Run(fmt.Sprint(connections), func(b *testing.B) {
			s, err := New(Options{URL: "http://" + l.Addr().String(), Source: Generate(1, b.N), Connections: connections})
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			sum, err := s.Run(b.Context())
			if err != nil || !sum.Complete() {
				b.Fatal(err, sum)
			}
			b.ReportMetric(sum.Rate, "requests/s")
		})
	}
}
