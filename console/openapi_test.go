package console

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// document loads and validates the OpenAPI document once.
var document = sync.OnceValue(func() *openapi3.T {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		panic(err)
	}
	openapi3filter.RegisterBodyDecoder(typeNDJSON, decodeLines)
	openapi3filter.RegisterBodyDecoder("application/wasm", openapi3filter.FileBodyDecoder)
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		panic(err)
	}
	return doc
})

// decodeLines reads NDJSON as a list.
func decodeLines(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
	list := []any{}
	for d := json.NewDecoder(body); d.More(); {
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func TestDocumentIsValid(t *testing.T) {
	if err := document().Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
}

// undocumented are routes for people, not for programs.
func undocumented(path string) bool {
	return path == "/{$}" || strings.HasPrefix(path, "/assets/") || strings.HasPrefix(path, "/debug/pprof/")
}

func TestDocumentAgainstRoutes(t *testing.T) {
	documented := map[string]*openapi3.Operation{}
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			op.Parameters = append(slices.Clone(op.Parameters), item.Parameters...)
			documented[method+" "+path] = op
		}
	}
	b := newBench(t)
	for _, rt := range b.console.routes() {
		name := rt.method + " " + rt.path
		op := documented[name]
		delete(documented, name)
		if op == nil {
			if !undocumented(rt.path) {
				t.Errorf("%s is not in openapi.yaml", name)
			}
			continue
		}
		if open := op.Security != nil && len(*op.Security) == 0; open != rt.open {
			t.Errorf("%s: asks for a key: %t; documented: %t", name, !rt.open, !open)
		}
		var query, path []string
		for _, p := range op.Parameters {
			switch p.Value.In {
			case "query":
				query = append(query, p.Value.Name)
			case "path":
				path = append(path, "{"+p.Value.Name+"}")
			}
		}
		slices.Sort(query)
		if want := slices.Sorted(slices.Values(rt.params)); !slices.Equal(query, want) {
			t.Errorf("%s knows the parameters %q; documented: %q", name, want, query)
		}
		for _, p := range path {
			if !strings.Contains(rt.path, p) {
				t.Errorf("%s has no %s", name, p)
			}
		}
		if len(path) != strings.Count(rt.path, "{") {
			t.Errorf("%s: documented path parameters %q", name, path)
		}
	}
	for name := range documented {
		t.Errorf("%s is documented, but there is no such route", name)
	}
}

// TestDocumentKnowsEveryErrorCode reads the codes out of the source, so that
// none is forgotten in the document.
func TestDocumentKnowsEveryErrorCode(t *testing.T) {
	var known []string
	for _, v := range document().Components.Schemas["Error"].Value.Properties["error"].Value.Enum {
		known = append(known, v.(string))
	}
	used := errorCodes(t)
	slices.Sort(known)
	if !slices.Equal(used, known) {
		t.Errorf("the code answers\n%q, the document lists\n%q", used, known)
	}
}

// checkAgainstDocument holds an exchange against the document: a request that
// was answered well must be one that the document allows, and every answer one
// that it promises.
func checkAgainstDocument(t *testing.T, r *http.Request, body string, w *httptest.ResponseRecorder) {
	t.Helper()
	path := r.Pattern
	if _, after, ok := strings.Cut(path, " "); ok {
		path = after
	}
	item := document().Paths.Value(path)
	if item == nil || item.GetOperation(r.Method) == nil {
		if w.Code >= 400 && !strings.HasPrefix(path, "/debug/pprof/") {
			schema := document().Components.Schemas["Error"].Value
			checkJSON(t, schema, w.Body.Bytes())
		}
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, QueryParams: r.URL.Query(), PathParams: map[string]string{},
		Route:   &routers.Route{Spec: document(), Path: path, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if w.Code < 300 && in.Route.Operation.RequestBody != nil {
		r.Body = io.NopCloser(strings.NewReader(body))
		if err := openapi3filter.ValidateRequestBody(t.Context(), in, in.Route.Operation.RequestBody.Value); err != nil {
			t.Errorf("%s %s: answered %d, but the document refuses the request: %v", r.Method, path, w.Code, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: w.Code, Header: w.Header(), Options: in.Options}
	out.SetBodyBytes(bytes.Clone(w.Body.Bytes()))
	if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
		t.Errorf("%s %s: answer %d is not what the document promises: %v", r.Method, path, w.Code, err)
	}
}
