package tracing

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/dispatcher"
)

// TestMain fails the package if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// That nothing goes on running, TestMain sees.
func TestTheEndExportsWhatIsLeft(t *testing.T) {
	var exports atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { exports.Add(1) }))
	defer receiver.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	tracer, err := Open(t.Context(), Config{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	begin := tracer.Observe(func(*dispatcher.Claim) (string, func(*dispatcher.Record)) { return "", func(*dispatcher.Record) {} })
	_, judged := begin(&dispatcher.Claim{CreatedAt: time.Now()})
	judged(&dispatcher.Record{})
	tracer.Close()
	if n := exports.Load(); n != 1 {
		t.Errorf("%d exports, want one", n)
	}
}
