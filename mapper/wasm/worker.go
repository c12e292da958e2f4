package wasm

import (
	"context"
	"fmt"
)

// Worker keeps one instance of each program that it has met, the least recently
// used ones giving way when their memory is over the limit. One goroutine uses
// it at a time, and with it its instances.
type Worker struct {
	engine *Engine
	pinned map[*Program]*Instance
	list   Instance  // ends of a ring: list.older is the newest, list.newer the oldest
	handed *Instance // given out last; it may have grown since
	bytes  int64
	seen   int64 // of the engine's closings
	closed bool
}

// Worker returns a worker without instances.
func (e *Engine) Worker() *Worker {
	w := &Worker{engine: e, pinned: map[*Program]*Instance{}, seen: e.closings.Load()}
	w.list.newer, w.list.older = &w.list, &w.list
	return w
}

// Instance returns the instance of p, ready to be called. It makes one when
// there is none or the old one may not go on: after a trap, when memory has
// grown to more than twice what it was at first, after CallsPerInstanceMax
// calls. Making one takes 50 µs for C and some ms for Go, and a module that
// traps at every call needs one each time: it is the caller who has to stop
// asking.
//
// The error is a *Trap when start-up traps, a *BadModule when the module gives
// nonsense or refuses its configuration, ErrClosed when p or w is closed.
func (w *Worker) Instance(ctx context.Context, p *Program) (*Instance, error) {
	if w.closed {
		return nil, ErrClosed
	}
	w.settle()
	if n := w.engine.closings.Load(); n != w.seen {
		w.seen = n
		w.sweep(ctx)
	}
	i := w.pinned[p]
	if i != nil && !i.fit() {
		w.drop(ctx, i)
		i = nil
	}
	if i == nil {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("instance of mapper %s: %w", p.name, err)
		}
		var err error
		if i, err = p.instantiate(ctx); err != nil {
			return nil, fmt.Errorf("instance of mapper %s: %w", p.name, err)
		}
		w.pinned[p] = i
	} else {
		w.unlink(i)
	}
	w.link(i)
	w.handed = i
	w.settle()
	for w.bytes > w.engine.config.InstanceBytesMax && w.list.newer != i {
		w.drop(ctx, w.list.newer)
	}
	return i, nil
}

// settle charges what the instance given out last has grown by.
func (w *Worker) settle() {
	if i := w.handed; i != nil {
		w.bytes += i.bytes() - i.charged
		i.charged = i.bytes()
	}
}

// sweep drops the instances of closed programs, so that their memory does not
// wait for this worker to need the place.
func (w *Worker) sweep(ctx context.Context) {
	for p, i := range w.pinned {
		if p.closed.Load() {
			w.drop(ctx, i)
		}
	}
}

// Discard closes the instance of p if there is one.
func (w *Worker) Discard(p *Program) {
	if i := w.pinned[p]; i != nil {
		w.drop(context.Background(), i)
	}
}

// Close closes all instances.
func (w *Worker) Close(ctx context.Context) {
	w.closed = true
	for _, i := range w.pinned {
		w.drop(ctx, i)
	}
}

// Bytes is the memory of its instances, as it counts against InstanceBytesMax.
func (w *Worker) Bytes() int64 {
	w.settle()
	return w.bytes
}

// Instances is how many instances it keeps.
func (w *Worker) Instances() int { return len(w.pinned) }

func (w *Worker) drop(ctx context.Context, i *Instance) {
	if w.handed == i {
		w.handed = nil
	}
	w.unlink(i)
	delete(w.pinned, i.program)
	w.bytes -= i.charged
	// What closing an instance can say is that a file of its empty world did
	// not close; it has none.
	if err := i.close(ctx); err != nil {
		panic("bug: close a mapper instance: " + err.Error())
	}
}

func (w *Worker) link(i *Instance) {
	i.newer, i.older = &w.list, w.list.older
	i.older.newer, w.list.older = i, i
}

func (w *Worker) unlink(i *Instance) {
	i.newer.older, i.older.newer = i.older, i.newer
}
