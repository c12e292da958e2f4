package load

import (
	"fmt"
	"io"
	"net"
	"time"
)

// Conn is one keep-alive connection that dials by itself when it has to. One
// goroutine uses it at a time.
type Conn struct {
	addr string
	nc   net.Conn
	buf  []byte
	used int
}

// NewConn prepares a connection to addr; nothing is dialled yet.
func NewConn(addr string) *Conn { return &Conn{addr: addr, buf: make([]byte, 4096)} }

// Do sends the rendered request and gives the answer's status and body. The
// body is valid until the next Do. After an error the request may or may not
// have been received, and the next Do dials anew. Nothing is retried here.
func (c *Conn) Do(request []byte, timeout time.Duration) (status int, body []byte, err error) {
	deadline := time.Now().Add(timeout)
	if c.nc == nil {
		if c.nc, err = net.DialTimeout("tcp", c.addr, timeout); err != nil {
			c.nc = nil
			return 0, nil, err
		}
	}
	r, err := c.exchange(request, deadline)
	if err != nil || r.last {
		c.Close()
	}
	if err != nil {
		return 0, nil, fmt.Errorf("request to %s: %w", c.addr, err)
	}
	return r.status, c.buf[r.head:r.size], nil
}

func (c *Conn) exchange(request []byte, deadline time.Time) (r response, err error) {
	if err := c.nc.SetDeadline(deadline); err != nil {
		return r, err
	}
	if _, err := c.nc.Write(request); err != nil {
		return r, err
	}
	for c.used = 0; ; {
		if c.used == len(c.buf) {
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
		n, err := c.nc.Read(c.buf[c.used:])
		c.used += n
		r, done, bad := parseResponse(c.buf[:c.used])
		switch {
		case done || bad != nil:
			return r, bad
		case err == io.EOF:
			return r, io.ErrUnexpectedEOF
		case err != nil:
			return r, err
		}
	}
}

// Close ends the connection; the next Do dials anew.
func (c *Conn) Close() {
	if c.nc != nil {
		c.nc.Close()
		c.nc = nil
	}
}
