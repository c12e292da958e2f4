package baseline

import (
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
)

func TestServeAnswersLikeANode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- Serve(l) }()
	addr := l.Addr().String()
	c := load.NewConn(addr)
	defer c.Close()
	for _, want := range []string{"1-1", "1-2"} {
		status, body, err := c.Do(load.AppendRequest(nil, "POST", "/v1/postbacks/x", addr, "application/json", []byte(`{"payout":50}`)), 5*time.Second)
		var got struct {
			OK            bool
			Event, Status string
		}
		if err == nil {
			err = json.Unmarshal(body, &got)
		}
		if err != nil || status != 200 || !got.OK || got.Event != want || got.Status != "accepted" {
			t.Errorf("%d %s %v, want event %s", status, body, err, want)
		}
	}
	c.Close()
	l.Close()
	if err := <-ended; err != nil {
		t.Errorf("closed listener: %v", err)
	}
}
