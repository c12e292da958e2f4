package run

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/bench/mappers"
	"github.com/tallyhook/tallyhook/bench/node"
	"github.com/tallyhook/tallyhook/mapper/vectors"
)

// Limits of waiting for a node's mappers.
const (
	pushTimeMax   = time.Minute
	mappersMax    = 2 * time.Minute // until all of them can run
	mapperPushers = 2               // uploads at once: a node admits no more than that
	mapperPoll    = 10 * time.Millisecond
	mapperPollGap = 10 // times what an answer took: it has lines for every mapper, and asking must not be what is measured
)

// nodes starts nodes whose registry holds many active mappers.
func (m *mapperRun) nodes(ctx context.Context) error {
	counts := []int{m.cfg.Mappers}
	if m.cfg.Big {
		counts = append(counts, m.cfg.MappersMany)
	}
	for _, count := range counts {
		n, err := m.nodeWith(ctx, count)
		if err != nil {
			return fmt.Errorf("%d mappers: %w", count, err)
		}
		m.out.Nodes = append(m.out.Nodes, n)
		m.say("node with %d mappers ready in %.0f ms, its mappers after %.0f ms, %.1f MB", count, n.ReadyMs, n.MappersReadyMs, float64(n.RSSBytes)/megabyte)
	}
	return nil
}

// nodeWith pushes and activates so many different mappers and then starts the
// node some times again.
func (m *mapperRun) nodeWith(ctx context.Context, count int) (n MapperNode, err error) {
	n.Mappers = count
	p, _, err := m.start(ctx, "")
	if err != nil {
		return n, err
	}
	defer os.RemoveAll(p.Data)
	begin := time.Now()
	err = m.pushAll(ctx, p, count)
	n.PushMs = milliseconds(time.Since(begin)) / float64(count)
	if err == nil {
		err = mappersReady(ctx, p.Admin, count)
	}
	if err != nil {
		p.Kill()
		return n, err
	}
	for range starts {
		if err := p.Stop(stopMax); err != nil {
			return n, err
		}
		begin := time.Now()
		var took time.Duration
		if p, took, err = m.start(ctx, p.Data); err != nil {
			return n, err
		}
		if err := mappersReady(ctx, p.Admin, count); err != nil {
			p.Kill()
			return n, err
		}
		n.ReadyMs, n.MappersReadyMs = max(n.ReadyMs, milliseconds(took)), max(n.MappersReadyMs, milliseconds(time.Since(begin)))
	}
	u, err := load.ReadUsage(p.PID())
	n.RSSBytes, n.CPUMs = u.RSS, milliseconds(u.CPU)
	return n, errors.Join(err, p.Stop(stopMax))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// pushAll pushes mappers, in each language in turn, and activates them.
func (m *mapperRun) pushAll(ctx context.Context, p *node.Process, count int) error {
	key, err := p.Key()
	if err != nil {
		return err
	}
	api := node.NewAPI(p.Admin, key, mapperPushers)
	cases, err := vectors.ReadDir(filepath.Join(m.cfg.Root, "plugins", "examples", "pairs", "vectors"))
	if err != nil {
		return err
	}
	archive := vectors.Archive(cases)
	var modules [][]byte
	for _, lang := range mappers.Compiled {
		code, err := mappers.Example(m.cfg.Root, lang)
		if err != nil {
			return err
		}
		modules = append(modules, code)
	}
	var wait sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, mapperPushers)
	for i := range errs {
		wait.Go(func() {
			for n := int(next.Add(1)) - 1; n < count && errs[i] == nil; n = int(next.Add(1)) - 1 {
				code, err := mappers.Variant(modules[n%len(modules)], n)
				if err == nil {
					err = pushMapper(ctx, api, p.Admin, key, fmt.Sprintf("bench-%d", n), code, archive)
				}
				errs[i] = err
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// pushMapper makes a module the first version of a mapper, and the active one.
func pushMapper(ctx context.Context, api *node.API, admin, key, name string, code, archive []byte) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, part := range []struct {
		name  string
		bytes []byte
	}{{"module", code}, {"vectors", archive}} {
		w, err := form.CreateFormFile(part.name, part.name)
		if err != nil {
			return err
		}
		if _, err := w.Write(part.bytes); err != nil {
			return err
		}
	}
	if err := form.Close(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeMax)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+admin+"/api/v1/mappers/"+name+"/versions", &body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("push mapper %s: %w", name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return fmt.Errorf("push mapper %s: status %d: %s", name, resp.StatusCode, text)
	}
	return api.Do(ctx, http.MethodPost, "/api/v1/mappers/"+name+"/activate", map[string]int{"version": 1}, new(struct{}))
}

// mappersReady waits until so many active mappers can run.
func mappersReady(ctx context.Context, admin string, count int) error {
	ctx, cancel := context.WithTimeout(ctx, mappersMax)
	defer cancel()
	for {
		asked := time.Now()
		ready, err := readyMappers(ctx, admin)
		if err == nil && ready == count {
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("%d of %d mappers are ready", ready, count)
			}
			return fmt.Errorf("the node's mappers were not ready in %s: %w", mappersMax, err)
		case <-time.After(max(mapperPoll, mapperPollGap*time.Since(asked))):
		}
	}
}

// readyMappers counts the active mappers that can run, by a node's metrics.
func readyMappers(ctx context.Context, admin string) (ready int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("metrics: status %s", resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "tallyhook_mapper_ready{") && strings.Contains(line, `role="active"`) && strings.HasSuffix(line, "} 1") {
			ready++
		}
	}
	return ready, lines.Err()
}
