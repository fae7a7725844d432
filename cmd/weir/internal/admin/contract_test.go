package admin_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// contract is the OpenAPI document, to which every call of every test is held.
// Its schemas are JSON Schema, and so is what OpenAPI 3.1 says of a document: a
// validator for that does all that is needed, and compiles in a second.
type contract struct {
	document map[string]any
	compiler *jsonschema.Compiler
	mu       sync.Mutex // the compiler's
}

const documentURL = "file:///openapi.json"

var readContract = sync.OnceValues(func() (*contract, error) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	c := &contract{document: document.(map[string]any), compiler: jsonschema.NewCompiler()}
	c.compiler.AssertFormat()
	return c, c.compiler.AddResource(documentURL, document)
})

func theContract(t *testing.T) *contract {
	t.Helper()
	c, err := readContract()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// at gives what stands in the document at a path of names, and its pointer;
// references are followed.
func (c *contract) at(names ...string) (found map[string]any, pointer string) {
	found = c.document
	for _, name := range names {
		found, _ = found[name].(map[string]any)
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		if ref, ok := found["$ref"].(string); ok && name != "schema" { // those of schemas are the validator's
			pointer = strings.TrimPrefix(ref, "#")
			found, _ = c.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
	}
	return found, pointer
}

// check holds a JSON text to the schema that stands at a path of names.
func (c *contract) check(text string, names ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, pointer := c.at(names...)
	schema, err := c.compiler.Compile(documentURL + "#" + pointer)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// operations gives every method and path of the document.
func (c *contract) operations() (all []string) {
	for path, item := range c.document["paths"].(map[string]any) {
		for _, method := range []string{"get", "post"} {
			if _, found := item.(map[string]any)[method]; found {
				all = append(all, strings.ToUpper(method)+" "+path)
			}
		}
	}
	return all
}

var idInPath = regexp.MustCompile(`/\d+(/|$)`)

// operation gives the method and path of a call as the document names them.
func (c *contract) operation(method, path string) (names []string, found bool) {
	path, _, _ = strings.Cut(path, "?")
	names = []string{"paths", idInPath.ReplaceAllString(path, "/{id}$1"), strings.ToLower(method)}
	operation, _ := c.at(names...)
	return names, operation != nil
}

// holdTo says what of an answer is not as the document has it.
func (c *contract) holdTo(method, path string, got answer) error {
	names, found := c.operation(method, path)
	if !found {
		return nil
	}
	code := strconv.Itoa(got.status)
	if responses, _ := c.at(append(names, "responses")...); responses[code] == nil {
		code = "default"
	}
	kind := got.header.Get("Content-Type")
	content, _ := c.at(append(names, "responses", code, "content")...)
	switch {
	case content[kind] == nil:
		return fmt.Errorf("the document has no %s of %s with %s", kind, code, names)
	case kind == "application/json":
		return c.check(got.body, append(names, "responses", code, "content", kind, "schema")...)
	}
	return nil
}
