package faults

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"testing"
)

// echo answers each line with its name and the line.
func echo(t *testing.T, name string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewScanner(c); in.Scan(); {
					fmt.Fprintf(c, "%s %s\n", name, in.Text())
				}
			}()
		}
	}()
	return l.Addr().String()
}

type caller struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, addr string) caller {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return caller{c, bufio.NewReader(c)}
}

// ask gives the answer to a line, "" when there is none.
func (c caller) ask(line string) string {
	fmt.Fprintln(c, line)
	answer, err := c.in.ReadString('\n')
	if err != nil {
		return ""
	}
	return answer[:len(answer)-1]
}

func TestRelayLosesWhatItIsTold(t *testing.T) {
	r := newRelay(t, echo(t, "a"))
	c := dial(t, r.addr)
	f := func(line, want string, lost int) {
		t.Helper()
		if got := c.ask(line); got != want || r.lostSoFar() != lost {
			t.Errorf("%q: %q and %d lost, want %q and %d", line, got, r.lostSoFar(), want, lost)
		}
	}
	f("one", "a one", 0)
	r.losing(func(asked, answer []byte) bool {
		return bytes.HasPrefix(asked, []byte("lose")) && bytes.HasPrefix(answer, []byte("a lose"))
	})
	f("keep", "a keep", 0)
	f("lose me", "", 1)
	f("again", "", 1) // the connection is gone
	c = dial(t, r.addr)
	f("keep", "a keep", 1)
	r.losing(nil)
	f("lose me", "a lose me", 1)
}

func TestRelayTurns(t *testing.T) {
	r := newRelay(t, echo(t, "a"))
	c := dial(t, r.addr)
	if got := c.ask("x"); got != "a x" {
		t.Fatalf("%q", got)
	}
	r.turn(echo(t, "b"))
	if got := c.ask("x"); got != "" {
		t.Errorf("the old connection answers %q", got)
	}
	if got := dial(t, r.addr).ask("x"); got != "b x" {
		t.Errorf("a new connection answers %q", got)
	}
	r.turn("")
	if got := dial(t, r.addr).ask("x"); got != "" {
		t.Errorf("without a server: %q", got)
	}
}
