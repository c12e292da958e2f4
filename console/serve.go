package console

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/tallyhook/tallyhook/store"
)

// request is a request that has passed key and parameters.
type request struct {
	*http.Request
	key   store.Key  // whose; zero on open routes
	actor string     // who, for the audit; "" on open routes
	query url.Values // known parameters only, each at most once
}

// recorder notes what an answer was, for metrics and the log.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the header is written
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach deadlines and flushing.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// contentPolicy lets the page load its own script and style and talk to its
// own node, and nothing else; answers of the API load nothing anyway.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// serve is what every request passes first and last. Whatever it says of a
// request, it names the route and never the URL: paths and queries hold ids,
// numbers and, by a caller's mistake, keys.
func (c *Console) serve(mux http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		start := c.cfg.Now()
		setHeaders(rec.Header())
		defer func() {
			route := r.Pattern
			if route == "" {
				route = "none"
			}
			if fault := recover(); fault != nil {
				c.cfg.Log.Error("admin request panicked", "route", route, "fault", fault, "stack", string(debug.Stack()))
				if rec.status == 0 {
					writeFailure(rec, refuse(http.StatusInternalServerError, "internal", "the node could not do this; its log says why"))
				}
			}
			took := c.cfg.Now().Sub(start)
			c.requests.done(route, rec.status, took)
			c.cfg.Log.Debug("admin request", "route", route, "status", rec.status, "took", took)
		}()
		mux.ServeHTTP(rec, r)
	})
}

// wrap makes a handler of a route: deadline, key, parameters, then its own work.
func (c *Console) wrap(rt *route) http.HandlerFunc {
	limit := rt.timeMax
	if limit == 0 {
		limit = RequestTimeMax
	}
	return func(w http.ResponseWriter, r *http.Request) {
		// No deadline on the connection: a call inside the process has none.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limit + RequestTimeMax))
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		err := c.run(rt, w, r.WithContext(ctx))
		if err == nil {
			return
		}
		if over := ctx.Err(); over != nil {
			err = fmt.Errorf("%w: %w", over, err) // a database says only that it was interrupted
		}
		c.fail(w, r, failureOf(err, rt.lookUp))
	}
}

func (c *Console) run(rt *route, w http.ResponseWriter, r *http.Request) (err error) {
	req := &request{Request: r}
	if !rt.open {
		if req.key, req.actor, err = c.authenticate(r); err != nil {
			return err
		}
		if err = c.authorize(rt, req); err != nil {
			return err
		}
	}
	if !rt.anyParams {
		if req.query, err = checkParams(r, rt.params); err != nil {
			return err
		}
	}
	return rt.serve(w, req)
}

// fail answers with f, and tells the log what the world did wrong.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, f *failure) {
	c.logFailure(r, f)
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="tallyhook"`)
	}
	writeFailure(w, f)
}

func (c *Console) logFailure(r *http.Request, f *failure) {
	if f.cause != nil && f.status >= http.StatusInternalServerError {
		c.cfg.Log.LogAttrs(r.Context(), slog.LevelError, "admin request failed",
			slog.String("route", r.Pattern), slog.String("code", f.code), slog.String("error", f.cause.Error()))
	}
}
