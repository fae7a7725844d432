package sandbox_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"weir/cmd/weir/internal/sandbox"
	"weir/limiter/sim"
)

func Example() {
	lost, err := sandbox.ParseFault("500-after:first=1")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := sandbox.New(sandbox.Config{Limit: 2, Window: time.Minute, Model: sim.FirstRequest, Faults: []sandbox.Fault{lost}})
	listening := httptest.NewServer(s)
	defer listening.Close()
	for range 3 {
		req, err := http.NewRequest(http.MethodPost, listening.URL+"/v1/messages", strings.NewReader(rcsBody))
		if err != nil {
			fmt.Println(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+sandbox.DefaultKey)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", "order-17")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		res.Body.Close()
		replayed := res.Header.Get("Idempotent-Replayed") == "true"
		fmt.Println(res.StatusCode, "remaining:", res.Header.Get("X-RateLimit-Remaining"), "replayed:", replayed)
	}
	fmt.Println("effects:", s.Keys("")["order-17"].Effects)
	// Output:
	// 500 remaining: 1 replayed: false
	// 200 remaining: 0 replayed: true
	// 429 remaining: 0 replayed: false
	// effects: 1
}
