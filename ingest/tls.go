package ingest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// TLSFiles name what the listener shows and whom it believes, as PEM.
type TLSFiles struct {
	Cert     string // the certificate and those that lead to its authority
	Key      string
	ClientCA string // authorities of client certificates; "" asks for none
}

// TLSLookEvery is how often the files are looked at for a change, when
// somebody connects.
const TLSLookEvery = 10 * time.Second

// TLS ends TLS for the listener: 1.2 and above, HTTP/1.1 only. Changed files
// are taken up without a restart. While what they hold cannot be used, the last
// good ones stay in force.
type TLS struct {
	files TLSFiles
	log   *slog.Logger
	now   func() time.Time

	current atomic.Pointer[tls.Config]
	loading sync.Mutex // guards what follows
	lookAt  time.Time
	stamp   string // of the files that were loaded last, good or not
}

// NewTLS loads the files. Log takes what goes wrong with changed ones; now is
// time.Now when nil.
func NewTLS(files TLSFiles, log *slog.Logger, now func() time.Time) (*TLS, error) {
	if files.Cert == "" || files.Key == "" {
		return nil, errors.New("TLS needs both a certificate and its key: give tls-cert and tls-key")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	t := &TLS{files: files, log: log, now: now}
	stamp, err := t.files.stamp()
	if err != nil {
		return nil, err
	}
	cfg, err := t.files.load()
	if err != nil {
		return nil, err
	}
	t.current.Store(cfg)
	t.stamp, t.lookAt = stamp, now().Add(TLSLookEvery)
	return t, nil
}

// asksClients reports whether clients may show certificates.
func (t *TLS) asksClients() bool { return t.files.ClientCA != "" }

// config is what a listener is given: each handshake takes the certificates in
// force.
func (t *TLS) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		t.look()
		return t.current.Load(), nil
	}}
}

// look takes up changed files, if it is time. Who comes while another looks
// goes on with what is in force.
func (t *TLS) look() {
	if !t.loading.TryLock() {
		return
	}
	defer t.loading.Unlock()
	if now := t.now(); now.Before(t.lookAt) {
		return
	} else {
		t.lookAt = now.Add(TLSLookEvery)
	}
	stamp, err := t.files.stamp()
	if err == nil && stamp == t.stamp {
		return
	}
	var cfg *tls.Config
	if err == nil {
		t.stamp = stamp
		cfg, err = t.files.load()
	}
	if err != nil {
		t.log.Error("changed certificates cannot be used, the last good ones stay in force", "error", err)
		return
	}
	t.current.Store(cfg)
	t.log.Info("certificates were taken up anew", "cert", t.files.Cert)
}

// stamp changes when one of the files does.
func (f *TLSFiles) stamp() (string, error) {
	text := ""
	for _, path := range [...]string{f.Cert, f.Key, f.ClientCA} {
		if path == "" {
			continue
		}
		st, err := os.Stat(path)
		if err != nil {
			return "", fmt.Errorf("TLS: %w", err)
		}
		text += fmt.Sprintln(st.Size(), st.ModTime().UnixNano())
	}
	return text, nil
}

func (f *TLSFiles) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("tls-cert %s, tls-key %s: %w; want PEM files of a certificate and its own key", f.Cert, f.Key, err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{pair}}
	if f.ClientCA == "" {
		return cfg, nil
	}
	text, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("client-ca: %w", err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("client-ca %s: want a PEM file of one certificate at least", f.ClientCA)
	}
	// Senders without a certificate share the listener with those that need one,
	// so that it is asked for here and demanded by the source. A resumed session
	// would bring back what an authority vouched for that may be gone since.
	cfg.ClientAuth, cfg.SessionTicketsDisabled = tls.VerifyClientCertIfGiven, true
	return cfg, nil
}
