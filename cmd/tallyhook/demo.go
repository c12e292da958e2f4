package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/tallyhook/tallyhook/bench/traffic"
	"github.com/tallyhook/tallyhook/sink"
)

type demoCmd struct {
	Calls int    `default:"3000" help:"Calls to play, each with what buyers send for it."`
	Seed  uint64 `default:"1" help:"Of the traffic: the same seed plays the same."`
	Keep  bool   `help:"Keep the folder, to look into it afterwards."`
	Fast  bool   `help:"As fast as the node takes it, rather than over some seconds."`
}

const (
	demoCallsMax   = 1_000_000
	demoSpread     = 12 * time.Second // over which the traffic is played
	demoParkFor    = "3s"             // so that strangers' postbacks end while one watches
	demoSettleMax  = 20 * time.Second
	demoRefresh    = 200 * time.Millisecond
	demoLine       = 2 * time.Second // between lines where there is no terminal
	demoExamplesOf = 500             // events that are searched for examples
)

// demo is one run: a node of its own, traffic into it, and what is shown.
type demo struct {
	*app   // with the options of the demo's node
	cmd    demoCmd
	node   *demoNode
	client *client
	sender *sender
	screen *screen
	view   demoView
}

// Run plays a network's traffic into a node on a temporary folder.
func (d demoCmd) Run(a *app) (err error) {
	if d.Calls < 1 || d.Calls > demoCallsMax {
		return usagef("--calls %d: want 1 to %d", d.Calls, demoCallsMax)
	}
	folder, err := os.MkdirTemp("", "tallyhook-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if !d.Keep {
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	node, err := startDemoNode(a.ctx, folder)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer node.stop() // twice does no harm
	opt := &Options{Data: node.data, Listen: node.listen, Admin: node.admin, Index: "memory:"}
	if err := opt.complete(); err != nil {
		return err
	}
	run := &demo{app: &app{ctx: a.ctx, opt: opt, out: a.out, errOut: a.errOut}, cmd: d, node: node}
	if run.client, err = run.connect(); err != nil {
		return err
	}
	defer run.client.close()
	if err := run.play(); err != nil {
		if a.ctx.Err() != nil {
			return errors.New("demo: interrupted")
		}
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

func (d *demo) play() error {
	fmt.Fprintf(d.out, "A node runs on %s\n  console and API  http://%s\n  postbacks        http://%s\n\n", d.node.data, d.node.admin, d.node.listen)
	urls, err := d.setUp()
	if err != nil {
		return err
	}
	d.sender = newSender(d.cmd, d.node.listen, d.client.key, urls)
	d.screen = newScreen(d.out)
	defer d.screen.close()
	if err := d.watch(); err != nil {
		return err
	}
	d.screen.close()
	samples, err := d.samples()
	if err != nil {
		return err
	}
	if err := d.node.stop(); err != nil {
		return err
	}
	return d.conclude(samples)
}

// setUp applies the network and makes a source for each shape of request. It
// gives the paths of their URLs.
func (d *demo) setUp() (urls [shapes]string, err error) {
	if err := d.client.ask(d.ctx, http.MethodPost, "/api/v1/apply", "application/json", traffic.NetworkJSON(), nil); err != nil {
		return urls, err
	}
	for i, name := range shapeNames {
		spec := map[string]any{"name": name, "park_for": demoParkFor, "limits": map[string]any{"per_token_per_min": -1}}
		var src struct {
			URL string `json:"url"`
		}
		if err := d.client.send(d.ctx, http.MethodPost, sourcesPath, spec, &src); err != nil {
			return urls, err
		}
		u, err := url.Parse(src.URL)
		if err != nil {
			return urls, err
		}
		urls[i] = u.Path
	}
	return urls, nil
}

// watch plays the traffic and shows what happens until everything has its
// verdict.
func (d *demo) watch() error {
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	played := make(chan error, 1)
	go func() { played <- d.sender.run(ctx) }()
	begun, asked := time.Now(), time.Duration(0)
	var ended time.Time
	for {
		wait := max(demoRefresh, 5*asked) // the questions must not become the load
		select {
		case err := <-played:
			if err != nil {
				return err
			}
			ended = time.Now()
		case <-d.ctx.Done():
			return d.ctx.Err()
		case <-d.node.exited:
			return d.node.unexpected()
		case <-time.After(wait):
		}
		before := time.Now()
		waiting, err := d.look(time.Since(begun))
		if err != nil {
			return err
		}
		asked = time.Since(before)
		d.view.settling = !ended.IsZero()
		d.view.settled = d.view.settling && waiting == 0
		d.screen.show(&d.view)
		if d.view.settled {
			return nil
		}
		if !ended.IsZero() && time.Since(ended) > demoSettleMax {
			return fmt.Errorf("%d postbacks have no final verdict %s after the last one was sent", waiting, demoSettleMax)
		}
	}
}

// look asks the node how it stands; waiting is what has no final verdict yet.
func (d *demo) look(elapsed time.Duration) (waiting int64, err error) {
	v := &d.view
	v.elapsed, v.sent = elapsed, d.sender.progress()
	var status struct {
		Pipeline struct {
			LagRecords int64 `json:"lag_records"`
		} `json:"pipeline"`
		Parked int64 `json:"parked"`
	}
	if err := d.client.get(d.ctx, "/api/v1/status", nil, &status); err != nil {
		return 0, err
	}
	v.summary = sink.Summary{}
	if err := d.client.get(d.ctx, "/api/v1/summary", nil, &v.summary); err != nil {
		return 0, err
	}
	for _, s := range v.summary.Statuses {
		if err := d.learn(s); err != nil {
			return 0, err
		}
	}
	return status.Pipeline.LagRecords + status.Parked, nil
}

// learn finds an example's sentence for a reason that has none yet.
func (d *demo) learn(s sink.StatusCount) error {
	key := reasonKey{s.Status, s.Reason}
	if s.Reason == "" || d.view.sentences[key] != "" {
		return nil
	}
	rows, err := d.events(s.Status)
	if err != nil {
		return err
	}
	if d.view.sentences == nil {
		d.view.sentences = map[reasonKey]string{}
	}
	for _, r := range rows {
		if k := (reasonKey{r.Status, r.Reason}); d.view.sentences[k] == "" {
			d.view.sentences[k] = r.ReasonText
		}
	}
	return nil
}

// events gives the newest events of a status.
func (d *demo) events(status string) ([]sink.Row, error) {
	var list struct {
		Rows []sink.Row `json:"rows"`
	}
	query := url.Values{"status": {status}, "limit": {fmt.Sprint(demoExamplesOf)}}
	return list.Rows, d.client.get(d.ctx, activityPath, query, &list)
}
