package admin_test

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi/datamodel"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"weir/outbox"
)

func TestTheDocumentIsOneOfOpenAPI(t *testing.T) {
	rules, err := jsonschema.UnmarshalJSON(strings.NewReader(datamodel.OpenAPI31SchemaData))
	if err != nil {
		t.Fatal(err)
	}
	const url = "file:///rules.json"
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(url, rules); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(url)
	if err != nil {
		t.Fatal(err)
	}
	served := serve(t, nil).call("GET", "/api/v1/openapi.json", "")
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(served.body))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Error(err)
	}
}

func TestTheDocumentHasEveryPath(t *testing.T) {
	c := theContract(t)
	source, err := os.ReadFile("routes.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range regexp.MustCompile(`"/api/v1/[^"]*"`).FindAll(source, -1) {
		if item, _ := c.at("paths", string(bytes.Trim(path, `"`))); item == nil {
			t.Errorf("the document lacks %s", path)
		}
	}
}

func TestTheListTakesTheParametersOfTheDocument(t *testing.T) {
	c := theContract(t)
	d := serve(t, nil)
	names := func(path string) (all []string) {
		list, _ := c.at("paths", path, "get")
		for _, p := range list["parameters"].([]any) {
			parameter := p.(map[string]any)
			if ref, ok := parameter["$ref"].(string); ok {
				parameter, _ = c.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			}
			all = append(all, parameter["name"].(string))
		}
		return all
	}
	for _, path := range []string{"/api/v1/messages", "/api/v1/rejected"} {
		var known []string
		// The refusal of a name that is not known lists those that are.
		got := d.call("GET", path+"?nonsense=", "").body
		_, list, _ := strings.Cut(got[:strings.Index(got, `","details"`)], "there is ")
		known = strings.Split(list, ", ")
		slices.Sort(known)
		if said := slices.Sorted(slices.Values(names(path))); !slices.Equal(said, known) {
			t.Errorf("%s takes %q, the document says %q", path, known, said)
		}
	}
}

func TestEveryOperationIsAnsweredAsTheDocumentSays(t *testing.T) {
	c := theContract(t)
	d := serve(t, nil)
	if err := d.store.Reject(t.Context(), []outbox.Rejection{{Payload: []byte(envelope), Reason: "channel: was not known"}, {Reason: "nothing"}}); err != nil {
		t.Fatal(err)
	}
	d.accept("a", "b", "c")
	d.beUnknown(3)
	for _, call := range []struct{ method, path, body string }{
		{"GET", "/api/v1/openapi.json", ""}, {"GET", "/api/v1/status", ""},
		{"POST", "/api/v1/messages", `{"idempotency_key":"k","body":{},"lane":"high","ttl":"2h","send_at":"2026-03-28T14:30:00Z"}`},
		{"GET", "/api/v1/messages?state=pending,sent&lane=high&limit=3&since=2026-03-28T14:30:00Z", ""},
		{"GET", "/api/v1/messages/1", ""}, {"GET", "/api/v1/messages/1/body", ""},
		{"POST", "/api/v1/messages/1/cancel", `{}`}, {"POST", "/api/v1/messages/1/retry", `{"ttl":"2h"}`},
		{"POST", "/api/v1/messages/3/resolve", `{"outcome":"sent","message_id":"m"}`},
		{"POST", "/api/v1/messages/cancel", `{"filter":{"state":["pending"],"channel":"rcs"}}`},
		{"POST", "/api/v1/messages/retry", `{"filter":{"state":"canceled"},"dry_run":true}`},
		{"POST", "/api/v1/gates/pause", `{"scope":"default/rcs","reason":"why","until":"2h"}`}, {"GET", "/api/v1/gates", ""},
		{"POST", "/api/v1/gates/probe", `{"scope":"all"}`}, {"POST", "/api/v1/gates/resume", `{"scope":"all"}`},
		{"GET", "/api/v1/rejected?limit=1", ""}, {"GET", "/api/v1/rejected/1/payload", ""}, {"POST", "/api/v1/rejected/1/requeue", `{}`},
		{"POST", "/api/v1/login-links", `{}`},
	} {
		names, _ := c.operation(call.method, call.path)
		if call.body != "" {
			if err := c.check(call.body, append(names, "requestBody", "content", "application/json", "schema")...); err != nil {
				t.Errorf("%s %s takes no %s: %v", call.method, call.path, call.body, err)
			}
		}
		if got := d.call(call.method, call.path, call.body); got.status >= 300 {
			t.Errorf("%s %s: %d %s", call.method, call.path, got.status, got.body)
		}
	}
	for _, operation := range c.operations() {
		method, path, _ := strings.Cut(operation, " ")
		if path == "/api/v1/status/stream" || !strings.HasPrefix(path, "/api/") {
			continue // the stream has no end; health has no daemon here
		}
		if !slices.Contains(d.done, method+" "+path) {
			t.Errorf("%s was not done", operation)
		}
	}
}
