package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// remote are the flags of commands that a partner runs from another machine,
// through whatever serves the node's admin API to the world.
type remote struct {
	Node string `help:"Node of the network, when it is not the one that --admin names: https://HOST, as it was given to you together with a key. The key is read from --admin-key-file." placeholder:"URL"`
}

// withNode is withClient for commands with --node.
func (a *app) withNode(at remote, f func(*client) error) error {
	if at.Node == "" {
		return a.withClient(f)
	}
	c, err := a.dialNode(at.Node)
	if err != nil {
		return err
	}
	defer c.http.CloseIdleConnections()
	return f(c)
}

// dialNode makes a client of the node whose admin API is served at a URL.
func (a *app) dialNode(text string) (*client, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usagef("--node %q: want the address of a node's admin API, such as https://hooks.example.com", text)
	}
	c, err := a.newClient(u.Host)
	if err != nil {
		return nil, err
	}
	c.http.Transport = &behind{scheme: u.Scheme, prefix: strings.TrimRight(u.Path, "/"), next: c.http.Transport}
	return c, nil
}

// behind sends requests to a node that stands behind a proxy: with TLS, under
// a path of its own, or both.
type behind struct {
	scheme, prefix string
	next           http.RoundTripper
}

func (b *behind) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = b.scheme
	if b.prefix != "" {
		r.URL.Path = b.prefix + r.URL.Path
		if r.URL.RawPath != "" {
			r.URL.RawPath = b.prefix + r.URL.RawPath
		}
	}
	return b.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client close what lies below.
func (b *behind) CloseIdleConnections() {
	if next, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		next.CloseIdleConnections()
	}
}

// exchange sends a request and gives status and body of whatever comes back,
// for answers that are no JSON, or say no with more than a sentence. Its
// patience is its own: a node takes up to a minute to admit a module.
func (c *client) exchange(ctx context.Context, method, path, contentType string, body []byte, patience time.Duration) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", c.addr, err)
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	patient := &http.Client{Transport: withPatience(c.http.Transport, patience), CheckRedirect: c.http.CheckRedirect}
	defer patient.CloseIdleConnections()
	resp, err := patient.Do(r)
	if err != nil {
		return nil, nil, c.unanswered(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax+1))
	switch {
	case err != nil:
		return nil, nil, c.unanswered(err)
	case len(text) > answerBytesMax:
		return nil, nil, fmt.Errorf("the answer of %s is larger than %d MiB: ask for less", c.addr, answerBytesMax>>20)
	}
	return resp, text, nil
}

// withPatience is a transport like t that waits that long for an answer.
func withPatience(t http.RoundTripper, patience time.Duration) http.RoundTripper {
	if b, ok := t.(*behind); ok {
		return &behind{scheme: b.scheme, prefix: b.prefix, next: withPatience(b.next, patience)}
	}
	return &http.Transport{DialContext: (&net.Dialer{Timeout: dialTimeMax}).DialContext, ResponseHeaderTimeout: patience}
}
