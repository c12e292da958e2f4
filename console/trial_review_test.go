package console

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/source"
)

// Every preset whose sender shares a secret with us can be tried with nothing
// set, and no trial tells a signature that would be good without /test.
func TestTrialOfEveryPreset(t *testing.T) {
	b, y := trials(t)
	for _, name := range source.Presets() {
		b.create(`{"id":"` + name + `","preset":"` + name + `"}`)
		src := b.live().ByID(name)
		keys := src.Verifier != nil && src.Spec.Signature.Algorithm == "ecdsa-p256"
		if src.Verifier != nil && !keys {
			b.ask("POST", "/api/v1/sources/"+name+"/secrets", `{}`).is(http.StatusOK, nil)
		}
		var a trialAnswer
		had := len(y.records)
		text := b.ask("POST", "/api/v1/sources/"+name+"/trial", `{}`).is(http.StatusOK, &a).Body.String()
		if keys {
			continue // only the sender can sign
		}
		if !a.OK || len(y.records) != had+1 {
			t.Errorf("%s: %s", name, a.Sentence)
			continue
		}
		rec := y.records[had]
		for pair := range strings.SplitSeq(rec.Query, "&") {
			if field, value, _ := strings.Cut(pair, "="); src.Verifier != nil && src.Spec.Signature.Signature.In == "query:"+field && strings.Contains(text, value) {
				t.Errorf("%s: the answer tells %s %s", name, field, value)
			}
		}
	}
}
