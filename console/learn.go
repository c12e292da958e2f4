package console

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/learn"
	"github.com/tallyhook/tallyhook/source/signature"
	"github.com/tallyhook/tallyhook/store"
)

// learning is the body of a request to learn.
type learning struct {
	Secret   store.Secret        `json:"secret"` // the sender's, to find how requests are signed
	Apply    bool                `json:"apply"`
	Statuses map[string][]string `json:"statuses"` // what words in status mean: kind, or ignore → words
}

// learned is its answer.
type learned struct {
	Source string `json:"source"`
	*learn.Proposal
	Applied      bool `json:"applied"`
	SecretStored bool `json:"secret_stored"` // the given secret is the source's from now on
}

// learnSource proposes from a source's last requests, refused ones included,
// how it should read its sender, and does so when it is told to.
func (c *Console) learnSource(w http.ResponseWriter, r *request) error {
	var in learning
	if err := decodeJSON(w, r.Request, &in); err != nil {
		return err
	}
	if len(in.Secret) > signature.SecretBytesMax {
		return badRequest("secret of %d bytes: at most %d", len(in.Secret), signature.SecretBytesMax)
	}
	id := r.PathValue("id")
	info, err := c.cfg.Objects.GetSource(r.Context(), id)
	if err != nil {
		return err
	}
	src, err := c.cfg.Objects.CompiledSource(r.Context(), id)
	if err != nil {
		return err
	}
	spec, err := c.written(r.Context(), r.actor, id)
	if err != nil {
		return err
	}
	requests, err := c.captured(r.Context(), &info)
	if err != nil {
		return err
	}
	if len(requests) == 0 {
		return refuse(http.StatusNotFound, "not_found", "source %q has received nothing that it could learn from: have its sender send one request to its URL, then ask again; one that is refused will do", id)
	}
	secrets := secretsOf(src, in.Secret)
	p, err := learn.Propose(learn.Input{Spec: spec, Requests: requests, Secrets: secrets, Statuses: in.Statuses,
		PublicBase: c.cfg.SignedBase, Mask: []string{string(info.Token)}})
	if err != nil {
		return badRequest("%s", err)
	}
	out := learned{Source: id, Proposal: p}
	if in.Apply && p.Halt != "" {
		return refuse(http.StatusConflict, "conflict", "%s", p.Halt)
	}
	if in.Apply {
		var given learn.Secret
		if in.Secret != "" {
			given = secrets[0]
		}
		if err := c.applyLearned(r, spec, given, &out); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// written gives a source as its operator wrote it, without defaults: what a
// change begins with.
func (c *Console) written(ctx context.Context, actor, id string) (spec source.Spec, err error) {
	_, err = c.cfg.Objects.ChangeSource(ctx, actor, id, func(s *source.Spec) error {
		spec = *s
		return nil // unchanged
	})
	return spec, err
}

// applyLearned puts a proposal in force: the change first, so that the secret
// is checked against the signature that it is for.
func (c *Console) applyLearned(r *request, was source.Spec, given learn.Secret, out *learned) error {
	id := out.Source
	if out.Diff != "" {
		_, err := c.cfg.Objects.ChangeSource(r.Context(), r.actor, id, func(s *source.Spec) error {
			if !reflect.DeepEqual(*s, was) {
				return refuse(http.StatusConflict, "conflict", "source %q was changed meanwhile: learn again", id)
			}
			*s = out.Spec
			return nil
		})
		if err != nil {
			return err
		}
		out.Applied = true
	}
	if len(given.Text) > 0 && out.Proposal.Secret == 0 && !given.Live {
		if _, err := c.cfg.Objects.SetSecret(r.Context(), r.actor, id, store.Secret(given.Text), 0); err != nil {
			return err
		}
		out.SecretStored = true
		out.Findings = slices.DeleteFunc(out.Findings, func(f learn.Finding) bool { return f.What == "secret" })
	}
	if !out.Applied && !out.SecretStored {
		return nil
	}
	return c.changed(r.Context())
}

// secretsOf lists what is tried: the given secret first, then those of the source.
func secretsOf(src *source.Source, given store.Secret) (list []learn.Secret) {
	var live [][]byte
	if s := src.Signing; s != nil {
		for _, text := range [][]byte{s.Current, s.Previous} {
			if len(text) > 0 {
				live = append(live, text)
			}
		}
	}
	isLive := func(text string) bool {
		return slices.ContainsFunc(live, func(l []byte) bool { return string(l) == text }) || slices.Contains(src.Secrets, source.HashToken([]byte(text)))
	}
	if given != "" {
		list = append(list, learn.Secret{Text: []byte(given), Live: isLive(string(given))})
	}
	for _, text := range live {
		if string(text) != string(given) {
			list = append(list, learn.Secret{Text: text, Live: true})
		}
	}
	return list
}

// captured gathers what a source received: what the node still has whole, and
// what the verdict log keeps of what was taken. The newest come first.
func (c *Console) captured(ctx context.Context, info *store.SourceInfo) ([]learn.Request, error) {
	var list []learn.Request
	whole := map[string]int{} // what both have counts as often as it came
	if c.cfg.Captured != nil {
		list = c.cfg.Captured(info.ID)
		for i := range list {
			if !list[i].Refused {
				whole[likeness(&list[i])]++
			}
		}
	}
	kept := 0
	err := c.lastRecords(ctx, info.ID, func(record []sink.Row) (more bool, err error) {
		r, ok, err := c.keptRequest(ctx, info, record[0])
		if err != nil {
			return false, err
		}
		kept++
		if like := likeness(&r); ok && whole[like] > 0 {
			whole[like]--
		} else if ok {
			list = append(list, r)
		}
		return kept < learn.RequestsMax, nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b learn.Request) int { return b.At.Compare(a.At) })
	return list[:min(len(list), learn.RequestsMax)], nil
}

// keptRequest reads one request back from the verdict log. Trials are none of
// the sender's: they have no peer.
func (c *Console) keptRequest(ctx context.Context, info *store.SourceInfo, row sink.Row) (r learn.Request, ok bool, err error) {
	id, err := event.ParseID(row.Event)
	if err != nil {
		return r, false, err
	}
	id.N = 0
	t, err := c.cfg.Activity.Event(ctx, id)
	if err != nil || t.Request == nil || t.Request.Peer == "" {
		return r, false, notThere(err)
	}
	q := t.Request
	r = learn.Request{At: time.UnixMicro(int64(row.ReceivedAt)).UTC(), Method: q.Method, Target: "/v1/postbacks/" + string(info.Token) + "?" + q.Query,
		ContentType: q.ContentType, Headers: q.Headers, Body: q.Body, Peer: q.Peer, Reason: row.Status, Cut: q.BodyCut, HeadersCut: true}
	r.Masked = strings.Contains(q.Query, event.Redacted) || strings.Contains(string(q.Body), event.Redacted) ||
		slices.ContainsFunc(q.Headers, func(h event.Pair) bool { return strings.Contains(h.Value, event.Redacted) })
	return r, true, nil
}

// likeness tells a request again, with or without its secrets.
func likeness(r *learn.Request) string {
	_, query, _ := strings.Cut(r.Target, "?")
	body := string(r.Body)
	return r.Peer + "\x00" + string(event.RedactQuery(nil, query)) + "\x00" + string(event.RedactorOf(r.ContentType, body)(nil, body))
}
