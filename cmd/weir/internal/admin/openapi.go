package admin

import (
	_ "embed"
	"net/http"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed openapi.yaml
var openAPI []byte

// document is openAPI as it is served. Few ever ask.
var document = sync.OnceValues(func() ([]byte, error) { return yaml.YAMLToJSON(openAPI) })

func getDocument(w http.ResponseWriter, _ *http.Request) error {
	data, err := document()
	if err != nil {
		return err
	}
	write(w, http.StatusOK, "application/json", data)
	return nil
}
