package sink_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/sink"
)

// A call of a campaign with a conversion group says what became of it.
func TestCallConversion(t *testing.T) {
	onEveryLedger(t, func(t *testing.T, h *harness) {
		books := &sink.Books{DB: h.db.Read}
		h.exec(`INSERT INTO conversion_group (id, campaign, spec, created_at) VALUES (1, 'c', '{"posted":true,"timeout":"10m"}', 1)`)
		began := h.now
		for _, id := range []string{"waits", "late", "none", "early"} {
			c := ended(id, began, 90)
			c.call.Campaign = "c"
			if id == "waits" {
				c.call.EndedAt = began + hour
			}
			h.post(c)
		}
		h.post(ended("free", began, 90))
		f := func(call, want string) {
			t.Helper()
			v, err := books.Call(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(v.Conversion)
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.ReplaceAll(string(got), fmt.Sprintf(`"%d-`, h.stream), `"S-`); text != want {
				t.Errorf("%s is %s, want %s", call, text, want)
			}
		}
		h.now = began + 5*minute
		h.post(pays("20", byRef("ref-early")))
		h.now = began + 20*minute
		h.tick()
		h.now += minute
		h.post(pays("30", byRef("ref-late")))

		f("free", `null`)
		f("waits", `{"status":"waiting","until":"2026-03-02T13:10:00.000000Z","converted_at":null,"event":null,"late":null,"not_converted_since":null}`)
		f("early", `{"status":"converted","until":null,"converted_at":"2026-03-02T12:05:00.000000Z","event":"S-6","late":false,"not_converted_since":null}`)
		const until = "2026-03-02T12:11:30.000000Z" // ten minutes after its end
		f("none", `{"status":"not_converted","until":null,"converted_at":null,"event":null,"late":null,"not_converted_since":"`+until+`"}`)
		f("late", `{"status":"converted","until":null,"converted_at":"2026-03-02T12:21:00.000000Z","event":"S-7","late":true,"not_converted_since":"`+until+`"}`)
	})
}
