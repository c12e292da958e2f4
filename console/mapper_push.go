package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/store"
)

// uploadBytesMax bounds the body of a push: every part at its limit, and the
// lines between them.
const uploadBytesMax = store.MapperModuleBytesMax + store.MapperVectorsBytesMax + store.MapperConfigBytesMax + 64<<10

// pushMapper keeps an upload as a version and answers when its admission has
// ended. A client that goes away meanwhile, or waits for too long, finds the
// outcome at the version.
func (c *Console) pushMapper(w http.ResponseWriter, r *request) error {
	dryRun, err := truth(r.query, "dry_run")
	if err != nil {
		return err
	}
	if c.cfg.Admitter == nil {
		return refuse(http.StatusServiceUnavailable, "node_not_running", "nothing here admits modules: push to a running node")
	}
	if !c.admissions.enter() {
		return busy(w)
	}
	held := true
	defer func() {
		if held {
			c.admissions.leave()
		}
	}()
	up, err := readUpload(w, r.Request)
	if err != nil {
		return err
	}
	if dryRun {
		return c.tryMapper(w, r, up)
	}
	v, err := c.cfg.Objects.PushMapper(r.Context(), r.actor, r.key.Scope(), r.PathValue("name"), up)
	if err != nil {
		return err
	}
	if v.State != store.MapperUploaded { // it was pushed before
		writeJSON(w, http.StatusOK, v)
		return nil
	}
	ctx := context.WithoutCancel(r.Context())
	job, begun := c.admissions.begin(fmt.Sprintf("%s@%d", v.Mapper, v.Version), func() (store.MapperVersion, error) {
		return c.admit(ctx, r.actor, v, up)
	})
	held = !begun
	select {
	case <-job.done:
	case <-r.Context().Done():
		return &failure{status: http.StatusServiceUnavailable, code: "timed_out", cause: r.Context().Err(),
			message: fmt.Sprintf("mapper %s@%d is uploaded and its admission goes on: GET /api/v1/mappers/%s/versions/%d shows how it ends", v.Mapper, v.Version, v.Mapper, v.Version)}
	}
	if job.err != nil {
		return job.err
	}
	if job.version.State == store.MapperRefused {
		writeRefusal(w, &job.version, job.version.Verdict)
		return nil
	}
	w.Header().Set("Location", fmt.Sprintf("/api/v1/mappers/%s/versions/%d", v.Mapper, v.Version))
	writeJSON(w, http.StatusCreated, job.version)
	return nil
}

// tryMapper admits an upload and keeps nothing.
func (c *Console) tryMapper(w http.ResponseWriter, r *request, up store.MapperUpload) error {
	tier, err := c.cfg.Objects.TierToPush(r.Context(), r.key.Scope(), r.PathValue("name"))
	if err != nil {
		return err
	}
	select {
	case c.admissions.running <- struct{}{}:
		defer func() { <-c.admissions.running }()
	case <-r.Context().Done():
		return r.Context().Err()
	}
	ctx, cancel := context.WithTimeout(r.Context(), AdmissionTimeMax)
	defer cancel()
	verdict, admitted, fuel, err := c.cfg.Admitter.Admit(ctx, up, string(tier))
	if err != nil {
		return &failure{status: http.StatusServiceUnavailable, code: "admission_failed", cause: err,
			message: "the module could not be looked at: try again; the node's log names the cause"}
	}
	if !admitted {
		writeRefusal(w, nil, verdict)
		return nil
	}
	writeJSON(w, http.StatusOK, struct {
		Admitted  bool            `json:"admitted"`
		Tier      store.Tier      `json:"tier"`
		FuelLimit int64           `json:"fuel_limit"`
		Verdict   json.RawMessage `json:"verdict"`
	}{true, tier, fuel, verdict})
	return nil
}

// refusal is the answer to a push that was refused: an error with the whole
// verdict.
type refusal struct {
	fault
	Version *store.MapperVersion `json:"version,omitempty"` // nil on a dry run
	Verdict json.RawMessage      `json:"verdict"`
}

func writeRefusal(w http.ResponseWriter, v *store.MapperVersion, verdict json.RawMessage) {
	if v != nil {
		without := *v
		without.Verdict = nil // it stands beside it
		v = &without
	}
	writeJSON(w, http.StatusUnprocessableEntity, refusal{fault{false, "mapper_refused", reasonsOf(verdict)}, v, verdict})
}

// reasonsOf is what a verdict says against a module, in sentences.
func reasonsOf(verdict json.RawMessage) string {
	var found struct {
		Reasons []struct {
			Text string `json:"text"`
		} `json:"reasons"`
	}
	var texts []string
	if err := json.Unmarshal(verdict, &found); err == nil {
		for _, r := range found.Reasons {
			texts = append(texts, r.Text)
		}
	}
	if len(texts) == 0 {
		return "the module was refused: see the verdict"
	}
	return strings.Join(texts, "; ")
}

// readUpload reads the form of a push into memory, each part within its limit.
func readUpload(w http.ResponseWriter, r *http.Request) (up store.MapperUpload, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, uploadBytesMax)
	form, err := r.MultipartReader()
	if err != nil {
		return up, refuse(http.StatusUnsupportedMediaType, "content_type_unsupported",
			"content type %q: send multipart/form-data with a part named module", clip(r.Header.Get("Content-Type")))
	}
	parts := []struct {
		name string
		max  int
		to   *[]byte
	}{{"module", store.MapperModuleBytesMax, &up.Code}, {"vectors", store.MapperVectorsBytesMax, &up.Vectors}, {"config", store.MapperConfigBytesMax, &up.Config}}
	for {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return up, badForm(err)
		}
		name := part.FormName()
		i := slices.IndexFunc(parts, func(p struct {
			name string
			max  int
			to   *[]byte
		}) bool {
			return p.name == name
		})
		switch {
		case i < 0:
			return up, badRequest("part %q is not known: have module, vectors, config", clip(name))
		case *parts[i].to != nil:
			return up, badRequest("part %q is given twice: give it once", name)
		}
		if *parts[i].to, err = readPart(part, name, parts[i].max); err != nil {
			return up, err
		}
	}
	if len(up.Code) == 0 {
		return up, badRequest("the form has no part module, or an empty one: send the .wasm file in it")
	}
	return up, nil
}

func readPart(part *multipart.Part, name string, bytesMax int) ([]byte, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(part, int64(bytesMax)+1))
	switch {
	case err != nil:
		return nil, badForm(err)
	case n > int64(bytesMax):
		return nil, refuse(http.StatusRequestEntityTooLarge, "body_too_large", "part %s is larger than %d bytes: make it smaller", name, bytesMax)
	}
	return append([]byte{}, b.Bytes()...), nil // without the buffer's slack
}

func badForm(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return refuse(http.StatusRequestEntityTooLarge, "body_too_large", "the form is larger than %d bytes: make its parts smaller", uploadBytesMax)
	}
	return &failure{status: http.StatusBadRequest, code: "bad_request", message: "the form cannot be read or ended early: send it again", cause: err}
}
