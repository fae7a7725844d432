package dispatcher_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"weir/dispatcher"
)

func ExampleClient_Post() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "req_1")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"error":"not_rcs_capable","message":"no such device for %s"}`, r.Header.Get("Idempotency-Key"))
	}))
	defer api.Close()
	client, err := dispatcher.NewClient(dispatcher.ClientConfig{
		BaseURL: api.URL, Connections: 1, Timeout: time.Minute, UserAgent: "weir/1.0", Clock: dispatcher.NewClock(time.Now),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	answer := client.Post(context.Background(), "secret", "order-1", []byte(`{"to":"+491700000000"}`), "")

	fmt.Println(answer.Status, answer.ErrorCode, answer.RequestID)
	fmt.Println(answer.ErrorMessage)
	// Output:
	// 404 not_rcs_capable req_1
	// no such device for order-1
}
