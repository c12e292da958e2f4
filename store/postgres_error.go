package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Explain gives, for an error of connecting to Postgres, one that names hosts
// but neither user nor database, and what to do, and marks with ErrUnavailable
// what goes by: that, lost connections and time-outs. Other errors, and nil,
// come back as they are. Read and Write explain why there is no connection by
// themselves; who uses Pool passes its errors through here before anybody sees
// them.
func (db *DB) Explain(err error) error {
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) {
		return outage(err)
	}
	var refused *pgconn.PgError
	lasts := errors.As(err, &refused) && !passes(refused.Code)
	err = fmt.Errorf("connect to %s: %s", strings.TrimPrefix(db.where, "postgres://"), whyNot(err, refused))
	if lasts {
		return err
	}
	return &fault{ErrUnavailable, err}
}

// whyNot says why a server was not reached, or what it refused.
func whyNot(err error, refused *pgconn.PgError) string {
	if refused != nil {
		switch code := refused.Code; {
		case strings.HasPrefix(code, "28"):
			return "the server refuses this user, its password or its way of connecting (SQLSTATE " + code + "): check the URL and the server's pg_hba.conf"
		case code == "3D000":
			return "the server has no such database (SQLSTATE 3D000): create it, or check the URL"
		case code == "53300":
			return "the server has no connection left (SQLSTATE 53300): raise its max_connections, or lower pool_max_conns in the URL"
		case code == "57P03":
			return "the server is starting or stopping (SQLSTATE 57P03)"
		default:
			return refused.Message + " (SQLSTATE " + code + ")"
		}
	}
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return dns.Err + ": check the host in the URL"
	case errors.Is(err, context.Canceled):
		return context.Canceled.Error()
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return "no answer: is the server running, and does a firewall stand between?"
	case errors.As(err, &op):
		return op.Err.Error() + ": is the server running, and is this its port?"
	}
	return root(err).Error()
}

// root is the innermost error, the first where several were joined.
func root(err error) error {
	for {
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if e.Unwrap() == nil {
				return err
			}
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			err = e.Unwrap()[0]
		default:
			return err
		}
	}
}

// passes tells whether an SQLSTATE is of a trouble that goes by: connections,
// resources, a lock that is held, a session that was ended for its silence, a
// server that is being operated.
func passes(code string) bool {
	return code == "55P03" || code == "25006" || code == "57014" || code == "40001" || code == "40P01" || code == "25P03" || strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "57P")
}

// outage marks err as ErrUnavailable when the database was lost, refused to
// serve for the time being, or did not answer in time. What is of a kind
// already stays of it.
func outage(err error) error {
	var told *fault
	if err == nil || errors.As(err, &told) {
		return err
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		if !passes(refused.Code) {
			return err
		}
		return &fault{ErrUnavailable, err}
	}
	var network net.Error
	if errors.As(err, &network) || pgconn.Timeout(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, context.DeadlineExceeded) {
		return &fault{ErrUnavailable, err}
	}
	return err
}
