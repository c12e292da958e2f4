package console

import (
	"net/http"
	"time"
)

// noNode is the answer where a running node is needed and none runs here.
func noNode(what string) error {
	return refuse(http.StatusServiceUnavailable, "node_not_running",
		"%s is known to a running node only, and none runs here: start one with \"tallyhook serve\" and ask it", what)
}

func (c *Console) getStatus(w http.ResponseWriter, _ *request) error {
	if c.cfg.Node == nil {
		return noNode("the node's status")
	}
	s := c.cfg.Node.Status()
	writeJSON(w, http.StatusOK, struct {
		Version string `json:"version"`
		NodeStatus
		Uptime int64 `json:"uptime_s"`
	}{c.cfg.Version, s, int64(c.cfg.Now().Sub(s.StartedAt) / time.Second)})
	return nil
}

func (c *Console) listRefused(w http.ResponseWriter, r *request) error {
	src, err := c.cfg.Objects.GetSource(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if c.cfg.Node == nil {
		return noNode("what was refused")
	}
	writeJSON(w, http.StatusOK, list(c.cfg.Node.Refused(src.ID), ""))
	return nil
}

// health is the body of /healthz and /readyz: whether all is well, and each
// part by itself, "ok" or what is wrong with it.
type health struct {
	OK    bool              `json:"ok"`
	Parts map[string]string `json:"parts"`
}

// getHealth answers whether the process should be left running. A node that
// is full or behind is alive: restarting it would not help.
func (c *Console) getHealth(w http.ResponseWriter, _ *request) error {
	h := health{OK: true, Parts: map[string]string{"console": "ok"}}
	if c.cfg.Node != nil {
		h.part("node", c.cfg.Node.Status().Failed)
	}
	return h.answer(w)
}

// getReady answers whether senders should be sent here. A pipeline that lags
// does not count, nor does a backend that is away: intake goes on without, and
// no other node could do better. They are named all the same.
func (c *Console) getReady(w http.ResponseWriter, _ *request) error {
	h := health{OK: true, Parts: map[string]string{}}
	if c.cfg.Node == nil {
		h.part("node", "no node runs here")
		return h.answer(w)
	}
	s := c.cfg.Node.Status()
	h.part("node", s.Failed)
	journal := ""
	switch {
	case s.Journal.Failed:
		journal = "failed"
	case s.Journal.Full:
		journal = "full"
	}
	h.part("journal", journal)
	intake := ""
	if err := c.cfg.Node.Ready(); err != nil {
		intake = err.Error()
	}
	h.part("intake", intake)
	for _, b := range s.Backends {
		h.note(b)
	}
	return h.answer(w)
}

func (h *health) part(name, fault string) {
	h.Parts[name] = "ok"
	if fault != "" {
		h.Parts[name], h.OK = fault, false
	}
}

// note names what the node leans on, without a say in the answer.
func (h *health) note(b BackendStatus) {
	text := "ok"
	if !b.Up {
		text = "degraded: " + b.Kind + ": " + b.Fault
	}
	h.Parts[b.Role] = text
}

func (h *health) answer(w http.ResponseWriter) error {
	status := http.StatusOK
	if !h.OK {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, h)
	return nil
}
