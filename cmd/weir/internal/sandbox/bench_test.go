package sandbox_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/cmd/weir/internal/sandbox"
)

// BenchmarkSend measures the handler alone, without net/http around it: it
// must stay far below the cost of a request, so that the server can share a
// machine with the daemon it tests.
func BenchmarkSend(b *testing.B) {
	s := sandbox.New(sandbox.Config{Limit: 1 << 30, Window: time.Minute})
	var number atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(rcsBody))
			if err != nil {
				b.Fatal(err)
			}
			req.Header = http.Header{
				"Authorization":   {"Bearer " + sandbox.DefaultKey},
				"Content-Type":    {"application/json"},
				"Idempotency-Key": {strconv.FormatInt(number.Add(1), 10)},
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, req)
			if w.Code != http.StatusOK {
				b.Fatalf("answer = %d %s", w.Code, w.Body)
			}
		}
	})
}
