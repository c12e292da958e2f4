package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"time"

	"github.com/tallyhook/tallyhook/console"
	"github.com/tallyhook/tallyhook/mapper/admission"
	"github.com/tallyhook/tallyhook/mapper/vectors"
	"github.com/tallyhook/tallyhook/store"
)

type mapperPushCmd struct {
	File         string `arg:"" help:"The compiled module."`
	Name         string `required:"" env:"-" help:"Name of the mapper, as sources name it." placeholder:"NAME"`
	Vectors      string `required:"" env:"-" help:"Folder of test vectors." placeholder:"DIR"`
	MapperConfig string `env:"-" help:"Configuration that the module reads once, when it starts." placeholder:"FILE"`
	Activate     bool   `env:"-" help:"Activate it when it is admitted."`
	DryRun       bool   `env:"-" help:"Only let the node test it; nothing is kept."`
	JSON         bool   `help:"Print the version with its verdict as JSON."`
	remote       `embed:""`
}

// pushed is the API's answer to a push that is admitted, or was before.
type pushed struct {
	Version int                `json:"version"` // 0 when nothing was kept
	State   string             `json:"state"`
	Verdict *admission.Verdict `json:"verdict"`
}

// pushTimeMax is how long a push waits for its answer: as long as the node
// does, and the upload besides.
const pushTimeMax = console.AdmissionWaitMax + 30*time.Second

func (m mapperPushCmd) Run(a *app) error {
	if m.DryRun && m.Activate {
		return usagef("mapper push %s: --dry-run keeps nothing, so there is nothing to activate: leave out one of the two", m.File)
	}
	up, err := readUpload(m.File, m.MapperConfig, m.Vectors)
	if err != nil {
		return err
	}
	return a.withNode(m.remote, func(c *client) error {
		p, err := m.push(a, c, up)
		if err != nil || !m.Activate {
			return err
		}
		told := *a
		if m.JSON { // standard output holds that and nothing else
			told.out = a.errOut
		}
		return told.activateMapper(c, m.Name, p.Version)
	})
}

func (m mapperPushCmd) path() string {
	path := mapperPath(m.Name) + "/versions"
	if m.DryRun {
		path += "?dry_run=1"
	}
	return path
}

// push uploads a module, waits for its verdict and prints that. The error is
// not nil either when the node refuses it.
func (m mapperPushCmd) push(a *app, c *client, up *upload) (*pushed, error) {
	contentType, body, err := up.form()
	if err != nil {
		return nil, err
	}
	name := filepath.Base(m.File)
	waited := a.waiting("the node admits " + name)
	resp, text, err := c.exchange(a.ctx, http.MethodPost, m.path(), contentType, body, pushTimeMax)
	waited()
	if err != nil {
		return nil, err
	}
	taken := resp.StatusCode >= 200 && resp.StatusCode <= 299
	if !taken && resp.StatusCode != http.StatusUnprocessableEntity {
		return nil, c.refused(resp, text)
	}
	if m.JSON {
		if err := a.printJSON(json.RawMessage(text)); err != nil {
			return nil, err
		}
	}
	if !taken {
		return nil, m.sayRefused(a, name, text)
	}
	p := new(pushed)
	if err := json.Unmarshal(text, p); err != nil {
		return nil, err
	}
	return p, m.sayTaken(a, p)
}

// sayRefused prints a refusal's verdict.
func (m mapperPushCmd) sayRefused(a *app, name string, text []byte) error {
	var no struct {
		Version struct{ Version int } // not there on a dry run
		Verdict *admission.Verdict
	}
	if err := json.Unmarshal(text, &no); err != nil || no.Verdict == nil {
		return fmt.Errorf("%s is refused, but the answer does not say why: is that a Tallyhook node of this version?", name)
	}
	if !m.JSON {
		if err := a.printVerdict(no.Verdict, false); err != nil {
			return err
		}
	}
	what := name
	if no.Version.Version > 0 {
		what = fmt.Sprintf("%s, which is %s@%d,", name, m.Name, no.Version.Version)
	}
	return fmt.Errorf("%s is refused for what is said above: mend it and push it again; \"tallyhook mapper test\" says the same without a node", what)
}

// sayTaken prints what became of a module that the node takes.
func (m mapperPushCmd) sayTaken(a *app, p *pushed) error {
	if m.JSON {
		return nil
	}
	if p.Verdict != nil {
		if err := a.printVerdict(p.Verdict, false); err != nil {
			return err
		}
		fmt.Fprintln(a.out)
	}
	name := quoteArg(m.Name)
	switch {
	case m.DryRun:
		fmt.Fprintln(a.out, "It would be admitted; nothing was kept.")
	case m.Activate: // that says what it is then
	case p.State == string(store.MapperAdmitted):
		fmt.Fprintf(a.out, "%s@%d is admitted. Next, one of:\n\n", m.Name, p.Version)
		fmt.Fprintf(a.out, "  tallyhook mapper shadow %s %d      run it beside the active version first, if there is one\n", name, p.Version)
		fmt.Fprintf(a.out, "  tallyhook mapper activate %s %d    let it map\n", name, p.Version)
	default:
		fmt.Fprintf(a.out, "%s@%d is %s\n", m.Name, p.Version, printable(p.State))
	}
	return nil
}

// waiting shows that time passes until the function that it gives is called.
func (a *app) waiting(what string) (done func()) {
	p := a.newProgress(what, "s")
	stop, stopped := make(chan struct{}), make(chan struct{})
	begun := time.Now()
	go func() {
		defer close(stopped)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				p.end()
				return
			case <-tick.C:
				p.set(int64(time.Since(begun)/time.Second), 0)
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// form writes the parts of an upload as multipart/form-data.
func (up *upload) form() (contentType string, body []byte, err error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, part := range []struct {
		name, file string
		content    []byte
	}{{"module", "mapper.wasm", up.code}, {"vectors", "vectors.txtar", vectors.Archive(up.cases)}, {"config", "config", up.config}} {
		if len(part.content) == 0 {
			continue
		}
		to, err := w.CreateFormFile(part.name, part.file)
		if err != nil {
			return "", nil, err
		}
		if _, err := to.Write(part.content); err != nil {
			return "", nil, err
		}
	}
	if err := w.Close(); err != nil {
		return "", nil, err
	}
	return w.FormDataContentType(), b.Bytes(), nil
}
