package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// handedOut is what of a source's JSON its sender and its operator need.
type handedOut struct {
	ID           string          `json:"id"`
	URL          string          `json:"url"`
	Secret       bool            `json:"secret"`
	SecretValue  string          `json:"secret_value"`
	SecretsUntil string          `json:"secrets_until"` // absent when there is no secret before
	PublicKeys   []string        `json:"public_keys"`
	AwaitsSecret bool            `json:"awaits_secret"`
	Signature    json.RawMessage `json:"signature"`
	Preset       string          `json:"preset"`
	PasteURL     string          `json:"paste_url"`
	PasteFill    []string        `json:"paste_fill"`
	Verified     bool            `json:"verified"`
	Guesses      []string        `json:"guesses"`
	Weak         []string        `json:"weak"`
}

// use says what a sender does with the source's secret.
func (h *handedOut) use() string {
	if h.Signature != nil {
		return "sign with this one, or show it where its signature stands"
	}
	return "show this one in X-Webhook-Secret"
}

// printHandOut writes what a sender has to be given, and what an operator
// should know before relying on it.
func (a *app) printHandOut(raw json.RawMessage) error {
	var src handedOut
	if err := json.Unmarshal(raw, &src); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "source  %s\nurl     %s\n", printable(src.ID), printable(src.URL))
	switch {
	case src.SecretValue != "" && src.Signature == nil:
		fmt.Fprintf(a.out, "secret  %s\n        told this once; the sender shows it in the header X-Webhook-Secret\n", printable(src.SecretValue))
	case src.SecretValue != "":
		fmt.Fprintf(a.out, "secret  %s\n        told this once; the sender signs its requests with it, or shows it where the signature stands\n", printable(src.SecretValue))
	}
	if src.PasteURL != "" {
		fmt.Fprintf(a.out, "paste   %s\n        at the sender; the words in brackets are the sender's own and are filled in there\n", printable(src.PasteURL))
	}
	if len(src.PasteFill) > 0 {
		fmt.Fprintf(a.out, "        put your own value in place of %s\n", printable(strings.Join(src.PasteFill, ", ")))
	}
	a.printCare(&src)
	return nil
}

// printCare writes what is weak, what is guessed and what is missing.
func (a *app) printCare(src *handedOut) {
	for _, w := range src.Weak {
		fmt.Fprintf(a.out, "weak    %s\n", printable(w))
	}
	for _, g := range src.Guesses {
		fmt.Fprintf(a.out, "guess   %s\n", printable(g))
	}
	if src.AwaitsSecret {
		fmt.Fprintf(a.out, "closed  every request is refused until what its signature is checked with is set:\n        tallyhook source secret %[1]s --set @FILE, or --public-key ID=FILE for a signature with public keys\n", printable(src.ID))
	}
	if !src.Verified {
		fmt.Fprintf(a.errOut, "warning: what is known of %s rests on guesses; compare the first requests with \"tallyhook event ID\", and name in fields what differs\n", printable(src.Preset))
	}
}
