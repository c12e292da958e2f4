package run

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tallyhook/tallyhook/bench/mappers"
	"github.com/tallyhook/tallyhook/bench/node"
)

// measuredMappers has a mapper in each language that takes times as long as the
// built-in one.
func measuredMappers(times, extism, allocs, readyMs float64) *Mappers {
	s := mappers.Shape{Name: "a kind", InputBytes: 500, Calls: []mappers.Call{{Lang: mappers.BuiltIn, Mapped: mappers.Cost{Nanos: 1000, Rounds: []float64{1000, 2000}}}}}
	for _, lang := range []string{"c", "rust"} {
		own := mappers.Call{Lang: lang, Counted: true, Fuel: 12_345, Bare: &mappers.Cost{Nanos: 100, Allocs: allocs},
			Mapped: mappers.Cost{Nanos: 1000 * times, Rounds: []float64{1000 * times, 4000 * times}}}
		original := own
		original.Counted, original.Mapped = false, mappers.Cost{Nanos: 1}
		s.Calls = append(s.Calls, original, own)
	}
	return &Mappers{Shapes: []mappers.Shape{s}, Extism: &Extism{SDK: "v1", Map: mappers.Cost{Nanos: 100 * extism}},
		Distinct: []mappers.Distinct{{Lang: "c", Mappers: 1000, Made: 0.5}}, Active: []mappers.Active{{Langs: []string{"c", "as"}, Mappers: 7, ReadyMs: 77.7}},
		Nodes: []MapperNode{{Mappers: mappersOfGoal, ReadyMs: readyMs}}}
}

func TestMapperGoals(t *testing.T) {
	f := func(m *Mappers, rows, met int) {
		t.Helper()
		list := (&Result{Mappers: m}).mapperGoals()
		got := 0
		for _, g := range list {
			if g.Met {
				got++
			}
		}
		if len(list) != rows || got != met {
			t.Errorf("%d of %d met, want %d of %d: %+v", got, len(list), met, rows, list)
		}
	}
	f(nil, 0, 0)
	f(&Mappers{Notes: []string{"left out"}}, 0, 0)
	f(measuredMappers(2, 10, 0, 100), 6, 6)
	f(measuredMappers(2.01, 9.9, 1, 101), 6, 0)
	without := measuredMappers(1, 0, 0, 50)
	without.Extism, without.Nodes[0].Mappers = nil, 9
	f(without, 3, 3)
}

func TestMapperTablesShowEverything(t *testing.T) {
	m := measuredMappers(1.5, 40, 0, 60)
	m.Notes = []string{"Extism's go-sdk could not be measured: no proxy"}
	d := new(document)
	(&Result{Mappers: m}).mapperTables(d)
	for _, want := range []string{"**Extism's go-sdk could not be measured: no proxy**", "| 500 bytes, a kind | built-in |", "**1.50×** (1.50 to 3.00)", "12345",
		"40× faster", "| 1000 | C |", "| 7 | C, AssemblyScript | 77.7 |", "| 100 | 60 |"} {
		if !strings.Contains(d.String(), want) {
			t.Errorf("no %q in\n%s", want, d)
		}
	}
	none := new(document)
	(&Result{}).mapperTables(none)
	if none.Len() > 0 {
		t.Errorf("of nothing:\n%s", none)
	}
}

// A push sends the module, activates it, and says what went wrong.
func TestPushMapper(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method+" "+r.URL.Path)
		switch {
		case r.Header.Get("Authorization") != "Bearer k":
			w.WriteHeader(401)
		case strings.HasSuffix(r.URL.Path, "/activate"):
			io.WriteString(w, `{}`)
		default:
			file, _, err := r.FormFile("module")
			vectors, _, errVectors := r.FormFile("vectors")
			if err != nil || errVectors != nil {
				w.WriteHeader(400)
				return
			}
			if text, _ := io.ReadAll(vectors); string(text) != "cases" {
				w.WriteHeader(400)
				return
			}
			if code, _ := io.ReadAll(file); !bytes.HasPrefix(code, []byte("\x00asm")) {
				w.WriteHeader(422)
				io.WriteString(w, "no module at all")
				return
			}
			w.WriteHeader(201)
		}
	}))
	defer admin.Close()
	addr := strings.TrimPrefix(admin.URL, "http://")
	push := func(key, code string) error {
		return pushMapper(t.Context(), node.NewAPI(addr, key, 1), addr, key, "m", []byte(code), []byte("cases"))
	}
	if err := push("k", "\x00asm"); err != nil {
		t.Error(err)
	}
	if want := []string{"POST /api/v1/mappers/m/versions", "POST /api/v1/mappers/m/activate"}; !slices.Equal(asked, want) {
		t.Errorf("asked %v", asked)
	}
	if err := push("k", "MZ"); err == nil || !strings.Contains(err.Error(), "no module at all") {
		t.Error(err)
	}
	if err := push("l", "\x00asm"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Error(err)
	}
}

func TestMappersAreReadyWhenTheActiveOnesAre(t *testing.T) {
	asked := 0
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		for i := range 3 {
			ready := 0
			if i < asked {
				ready = 1
			}
			fmt.Fprintf(w, "tallyhook_mapper_ready{mapper=\"m%d\",role=\"active\",version=\"1\"} %d\n", i, ready)
			fmt.Fprintf(w, "tallyhook_mapper_ready{mapper=\"m%d\",role=\"previous\",version=\"0\"} 1\ntallyhook_mapper_calls_total{mapper=\"m\"} 1\n", i)
		}
	}))
	defer admin.Close()
	addr := strings.TrimPrefix(admin.URL, "http://")
	if err := mappersReady(t.Context(), addr, 3); err != nil || asked != 3 {
		t.Errorf("%v after %d questions", err, asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := mappersReady(ctx, addr, 4); err == nil {
		t.Error("four of three are ready")
	}
}
