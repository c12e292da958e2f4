package console

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/store"
)

// Limits of admissions. A module is hostile until it is admitted: whoever
// looks at it works in a bounded process of its own, few at a time.
const (
	AdmissionsMax        = 2 // run at once
	AdmissionsWaitingMax = 8 // uploads beside them that are read or wait
	AdmissionTimeMax     = 60 * time.Second
	AdmissionWaitMax     = 2 * time.Minute // how long a push waits for its answer
	admissionRetryAfter  = 10 * time.Second
)

// Admitter looks at what was pushed, runs its vectors, and finds whether it
// may run and what a call may burn. verdict is JSON with its findings; among
// them "reasons", a list of objects with a "text", when it is refused. An
// error is the world's fault: nothing was found.
type Admitter interface {
	Admit(ctx context.Context, up store.MapperUpload, tier string) (verdict json.RawMessage, admitted bool, fuelLimit int64, err error)
}

// admissions bound how many uploads a console holds and how many it admits at
// once, and let a version be admitted once however many push it.
//
//	enter ─► read the upload ─► push ─► begin ─► run ─► leave
//	 429                                          two at once
type admissions struct {
	places  chan struct{} // one token per upload that is held
	running chan struct{} // one token per admission

	mu   sync.Mutex
	jobs map[string]*admission // under way, by mapper@version
}

// admission is one that is under way. version and err are there when done is
// closed.
type admission struct {
	done    chan struct{}
	version store.MapperVersion
	err     error
}

func newAdmissions() *admissions {
	return &admissions{
		places:  make(chan struct{}, AdmissionsMax+AdmissionsWaitingMax),
		running: make(chan struct{}, AdmissionsMax),
		jobs:    map[string]*admission{},
	}
}

// enter takes a place for an upload, if there is one.
func (a *admissions) enter() bool {
	select {
	case a.places <- struct{}{}:
		return true
	default:
		return false
	}
}

func (a *admissions) leave() { <-a.places }

// begin runs admit for a version on a goroutine of its own, which leaves when
// it is done. When the version is being admitted already, begun is false and
// the place stays with the caller.
func (a *admissions) begin(name string, admit func() (store.MapperVersion, error)) (job *admission, begun bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if job = a.jobs[name]; job != nil {
		return job, false
	}
	job = &admission{done: make(chan struct{})}
	a.jobs[name] = job
	go func() {
		defer a.leave()
		a.running <- struct{}{} // who has it gives it back within AdmissionTimeMax
		job.version, job.err = admit()
		<-a.running
		a.mu.Lock()
		delete(a.jobs, name)
		a.mu.Unlock()
		close(job.done)
	}()
	return job, true
}

// admit has an uploaded version looked at and keeps what was found. It goes on
// when the client that pushed it has gone.
func (c *Console) admit(ctx context.Context, actor string, v store.MapperVersion, up store.MapperUpload) (_ store.MapperVersion, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("admission of mapper %s@%d panicked: %v\n%s", v.Mapper, v.Version, fault, debug.Stack())
		}
		if err != nil {
			c.cfg.Log.LogAttrs(ctx, slog.LevelError, "admission failed", slog.String("mapper", v.Mapper), slog.Int("version", v.Version), slog.String("error", err.Error()))
		}
	}()
	ctx = context.WithoutCancel(ctx)
	limited, cancel := context.WithTimeout(ctx, AdmissionTimeMax)
	defer cancel()
	verdict, admitted, fuel, err := c.cfg.Admitter.Admit(limited, up, string(v.Tier))
	if err != nil {
		return v, &failure{status: http.StatusServiceUnavailable, code: "admission_failed", cause: err,
			message: fmt.Sprintf("mapper %s@%d is uploaded, but its admission could not be run: push the same module again, which takes it up; the node's log names the cause", v.Mapper, v.Version)}
	}
	kept, cancel := context.WithTimeout(ctx, RequestTimeMax)
	defer cancel()
	if v, err = c.cfg.Objects.AdmitMapper(kept, actor, v.Mapper, v.Version, admitted, fuel, verdict); err != nil {
		return v, err
	}
	return v, c.changed(kept)
}

// busy is the answer to who comes when every place is taken.
func busy(w http.ResponseWriter) error {
	w.Header().Set("Retry-After", strconv.Itoa(int(admissionRetryAfter/time.Second)))
	return refuse(http.StatusTooManyRequests, "busy", "%d modules are being looked at or wait: push again in %s", AdmissionsMax+AdmissionsWaitingMax, admissionRetryAfter)
}
