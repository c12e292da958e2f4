package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/vectors"
	"github.com/tallyhook/tallyhook/mapper/wasm"
)

// trial is the judging of one module.
type trial struct {
	*Request
	v     *Verdict
	cases []vectors.Case

	program *wasm.Program
	batch   event.Batch
	told    int // differences so far
}

// judge takes a module through every step until one refuses it. say is told of
// each; what it returns, and everything else that is no fault of the module,
// ends the trial as an error.
func judge(ctx context.Context, r *Request, say func(step) error) (*Verdict, error) {
	t := &trial{Request: r, v: newVerdict(r.Code)}
	if err := say(stepRewrite); err != nil {
		return nil, err
	}
	code := t.rewrite()
	t.readVectors()
	if len(t.v.Reasons) > 0 {
		return t.v, nil
	}
	if err := say(stepCompile); err != nil {
		return nil, err
	}
	engine, err := wasm.Open(ctx, wasm.Config{CacheDir: r.CacheDir})
	if err != nil {
		return nil, err
	}
	err = t.run(ctx, engine, code, say)
	if err = errors.Join(err, engine.Close(ctx)); err != nil {
		return nil, err
	}
	if t.v.Admitted = len(t.v.Reasons) == 0; t.v.Admitted {
		t.v.FuelLimit = min(max(fuelPerWorst*t.v.WorstFuel, FuelMin), r.FuelMax)
	}
	return t.v, nil
}

// rewrite gives the counting module, nil when it is refused.
func (t *trial) rewrite() []byte {
	code, info, err := rewrite.Rewrite(t.Code, t.Limits)
	var no *rewrite.Refusal
	if errors.As(err, &no) {
		t.v.refuse(no.Code, "%s", no.Text)
		return nil
	} else if err != nil {
		panic("bug: the rewriter refuses without a refusal: " + err.Error())
	}
	t.v.RewrittenBytes, t.v.MemoryPages = len(code), info.MemoryPages
	for _, e := range info.Exports {
		t.v.Exports = list(t.v.Exports, e.Name)
	}
	for _, i := range info.Imports {
		t.v.Imports = list(t.v.Imports, i.Module+"."+i.Name)
	}
	return code
}

// list appends a name that the module chose, as far as a verdict shows it.
func list(all []string, name string) []string {
	const namesMax, nameBytesMax = 64, 128
	if len(all) == namesMax {
		return all
	}
	return append(all, strings.ToValidUTF8(name[:min(len(name), nameBytesMax)], ""))
}

func (t *trial) readVectors() {
	var err error
	t.cases, err = vectors.Parse(t.Vectors)
	if err != nil {
		t.v.refuse(CodeVectorsBad, "%s", err)
	} else if len(t.cases) == 0 {
		t.v.refuse(CodeNoVectors, "there is no test vector, and the fuel that a call gets is derived from them: write vectors/NAME%s with a request and the reports that it stands for, "+
			"or make some of captured postbacks with tallyhook mapper vectors --from-activity --source ID --last 20", vectors.FileEnd)
	}
}

// run compiles the module, starts it and puts the vectors to it.
func (t *trial) run(ctx context.Context, engine *wasm.Engine, code []byte, say func(step) error) error {
	began := time.Now()
	// Beyond what the tier allows, so that the author can be told how much it takes.
	p, err := engine.Load(ctx, wasm.Module{Name: "candidate", Code: code, Config: t.Config, FuelPerCall: max(t.FuelMax, FuelMaxLarge)})
	if err != nil {
		return t.fault(err)
	}
	t.v.CompileMillis = time.Since(began).Milliseconds()
	t.program = p
	if err := say(stepStart); err != nil {
		return err
	}
	w := engine.Worker()
	defer w.Close(ctx)
	i, err := w.Instance(ctx, p)
	if err != nil {
		return t.fault(err)
	}
	t.v.InitFuel = t.Limits.FuelInit - i.InitFuelLeft()
	if err := say(stepVectors); err != nil {
		return err
	}
	if err := t.tryAll(ctx, w); !errors.Is(err, errRefused) {
		return err
	}
	return nil
}

// errRefused ends a trial early: why stands in the verdict.
var errRefused = errors.New("refused")

// fault makes err a refusal if the module is at fault, and gives it back if not.
func (t *trial) fault(err error) error {
	var bad *wasm.BadModule
	var trap *wasm.Trap
	switch {
	case errors.As(err, &bad) && outOfMemory([]byte(bad.Text)):
		t.v.refuse(CodeCompileLarge, "%s", bad.Text)
	case errors.As(err, &bad):
		t.v.refuse(bad.Code, "%s", bad.Text)
	case errors.As(err, &trap):
		t.v.refuse(CodeStartFailed, "%s; all of its start-up has %s units of fuel", trap.Text, grouped(t.Limits.FuelInit))
	default:
		return err
	}
	return nil
}

// names lists cases for a sentence.
func names(all []string) string {
	const most = 5
	if len(all) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
	}
	return strings.Join(all, ", ")
}

// grouped renders n with commas between groups of three digits.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
