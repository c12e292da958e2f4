package console

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// sourceView is a source on the wire: its spec with all defaults filled in, the
// URL to give to its sender, and what an operator should know of both.
// SecretValue is there once, in the answer that made the secret.
type sourceView struct {
	store.SourceInfo
	URL          string   `json:"url"`
	PasteURL     string   `json:"paste_url,omitempty"`  // the same with what the preset has to be pasted behind it
	PasteFill    []string `json:"paste_fill,omitempty"` // words of PasteURL in whose place one's own values go
	SecretValue  string   `json:"secret_value,omitempty"`
	Verified     bool     `json:"verified"`          // false: the preset rests on guesses
	Guesses      []string `json:"guesses,omitempty"` // what exactly is guessed
	SignedFields []string `json:"signed_fields,omitempty"`
	Weak         []string `json:"weak,omitempty"` // sentences on what nothing vouches for
}

const postbackPath = "/v1/postbacks/"

func (c *Console) view(info store.SourceInfo) sourceView {
	v := sourceView{SourceInfo: info, URL: strings.TrimRight(c.cfg.PostbackBase, "/") + postbackPath + string(info.Token)}
	if p, err := source.PresetOf(info.Preset); err == nil {
		v.Verified, v.Guesses = p.Verified, p.Guesses
		v.PasteURL, v.PasteFill = pasted(v.URL, p)
	}
	if src, err := source.Compile(info.Spec); err == nil {
		if src.Verifier != nil {
			v.SignedFields = src.Verifier.SignedFields()
		}
		v.Weak = weaknesses(src, &info)
	}
	return v
}

// toFill are static values that a preset leaves to the operator: words in
// capitals where a value stands, without the brackets of a sender's macro.
var toFill = regexp.MustCompile(`[?&][^=&]+=([A-Z][A-Z0-9_]+)(?:&|$)`)

// pasted puts a preset's path and query behind a source's URL, the sender's
// macros as the sender wants them written.
func pasted(url string, p *source.Preset) (paste string, fill []string) {
	if p.Path == "" && p.Query == "" {
		return "", nil
	}
	paste = url + p.Path
	if p.Query == "" {
		return paste, nil
	}
	query := "?" + p.Query
	for at := 0; ; {
		m := toFill.FindStringSubmatchIndex(query[at:])
		if m == nil {
			return paste + query, fill
		}
		fill = append(fill, query[at+m[2]:at+m[3]])
		at += m[3] // the next one begins with the same &
	}
}

// weaknesses says what of a source's requests nobody vouches for.
func weaknesses(src *source.Source, info *store.SourceInfo) (list []string) {
	add := func(is bool, text string) {
		if is {
			list = append(list, text)
		}
	}
	known := len(src.Allow) > 0 || src.Spec.ClientName != ""
	unsigned := src.Verifier == nil || src.Spec.SignatureOptional && !info.Secret && len(info.PublicKeys) == 0
	switch {
	case src.Verifier == nil && info.Secret:
		add(!known, "nothing is signed: the secret itself is sent with every request")
	case unsigned:
		add(!known, "nothing is signed: the URL is the secret")
	}
	if src.Verifier != nil {
		add(unsigned, "unsigned requests are taken until the source has a secret")
		weak := src.Verifier.Weak()
		add(weak != "", "the signature is weak: "+weak)
	}
	add(src.Policy.PayoutUnsure, "the signature does not cover the payout: nothing is booked of one until the sender's addresses (allow_ips) or its certificate (client_name) vouch for it, or a person releases it")
	if src.Policy.ToAccount {
		add(src.Policy.RewardUnsure, "the signature does not cover the reward, or the identity that keeps it from being paid twice: nothing is credited until the sender's addresses (allow_ips) or its certificate (client_name) vouch for it, or a person releases it")
		add(src.RewardWhole, "the signature covers the whole part of the reward only: decimals are left out")
	}
	return list
}

// listPresets gives every preset, by name: they are part of the program.
func (c *Console) listPresets(w http.ResponseWriter, _ *request) error {
	var rows []*source.Preset
	for _, name := range source.Presets() {
		p, err := source.PresetOf(name)
		if err != nil {
			return err
		}
		rows = append(rows, p)
	}
	writeJSON(w, http.StatusOK, list(rows, ""))
	return nil
}

func (c *Console) getPreset(w http.ResponseWriter, r *request) error {
	p, err := source.PresetOf(r.PathValue("name"))
	if err != nil {
		return refuse(http.StatusNotFound, "not_found", "%s", err)
	}
	writeJSON(w, http.StatusOK, p)
	return nil
}
