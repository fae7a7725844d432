package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"weir/outbox"
)

// readBody gives the body of a request, at most as large as a call may be.
func readBody(r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		return data, nil
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, err
	}
	return nil, refuse(http.StatusBadRequest, "bad_request", "the body could not be read to its end")
}

// decode reads the JSON object of a request into to, a pointer to a struct whose
// tags are the only names allowed. An empty body is an empty object.
func decode(r *http.Request, to any) error {
	data, err := readBody(r)
	if err != nil || len(data) == 0 {
		return err
	}
	if !json.Valid(data) {
		return badJSON()
	}
	return decodeObject(data, "body", to)
}

func badJSON() *fault { return refuse(http.StatusBadRequest, "bad_json", "the body is not JSON") }

// decodeObject is for what encoding/json would let pass: names said twice, or
// in another case.
func decodeObject(data []byte, what string, to any) error {
	known := namesOf(to)
	var bad []outbox.Detail
	err := outbox.ParseObject(data, what, func(name string, _ []byte) {
		if !slices.Contains(known, name) {
			bad = append(bad, outbox.Detail{Field: printable(name), Message: unknownName(known)})
		}
	})
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		return invalid(bad[:min(len(bad), maxDetails)]...)
	}
	err = json.Unmarshal(data, to)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return invalidField(wrong.Field, "must be %s, not %s", kindName(wrong.Type), wrong.Value)
	}
	return err
}

// maxDetails bounds what a hostile body can make us say.
const maxDetails = 20

func unknownName(known []string) string {
	if len(known) == 0 {
		return "is not known here, where nothing is to be said"
	}
	return "is not known here; there is " + strings.Join(known, ", ")
}

func namesOf(to any) []string {
	var names []string
	for _, field := range reflect.VisibleFields(reflect.TypeOf(to).Elem()) {
		if name := field.Tag.Get("json"); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// kindName says what a value must be.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	}
	return "another kind of value"
}
