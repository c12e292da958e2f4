package ingest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = issue(t, a, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue signs a certificate, by itself when by has none.
func issue(t testing.TB, by *authority, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := by.cert, by.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

func (a *authority) server(t testing.TB) tls.Certificate {
	return a.pair(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func (a *authority) client(t testing.TB, c *x509.Certificate) tls.Certificate {
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.pair(t, c)
}

func (a *authority) pair(t testing.TB, c *x509.Certificate) tls.Certificate {
	t.Helper()
	made, key := issue(t, a, c)
	return tls.Certificate{Certificate: [][]byte{made.Raw}, PrivateKey: key, Leaf: made}
}

// write puts a certificate and its key into files.
func write(t testing.TB, folder, name string, pair tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(folder, name+".pem"), filepath.Join(folder, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// tlsFiles makes what a node needs to end TLS, with clients of trust.
func tlsFiles(t testing.TB, own, trust *authority) TLSFiles {
	t.Helper()
	folder := t.TempDir()
	var f TLSFiles
	f.Cert, f.Key = write(t, folder, "server", own.server(t))
	if trust != nil {
		f.ClientCA, _ = write(t, folder, "ca", tls.Certificate{Certificate: [][]byte{trust.cert.Raw}, PrivateKey: trust.key})
	}
	return f
}

// httpsClient trusts root and shows what certificates there are.
func httpsClient(t testing.TB, root *authority, show ...tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: show, NextProtos: []string{"h2", "http/1.1"}}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func fetch(t testing.TB, c *http.Client, url string) (int, *http.Response, error) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp, err
}

// A source that is bound to a certificate takes requests of those that hold
// its name, and senders without any use the same listener for other sources.
func TestClientCertificates(t *testing.T) {
	root, trusted, other := newAuthority(t, "root"), newAuthority(t, "trusted"), newAuthority(t, "other")
	ends, err := NewTLS(tlsFiles(t, root, trusted), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	bound := func(id, name string) *source.Source { return testSource(t, source.Spec{ID: id, ClientName: name}) }
	clock := &stillClock{at: time.Now()}
	n := startNode(t, func(c *Config) { c.TLS, c.Now = ends, clock.now }, testSource(t, source.Spec{ID: "open"}),
		bound("dns", "hooks.buyer.example"), bound("uri", "spiffe://buyer/hooks"), bound("mail", "ops@buyer.example"), bound("cn", "Buyer Hooks"))
	uri, err := url.Parse("spiffe://buyer/hooks")
	if err != nil {
		t.Fatal(err)
	}
	buyer := trusted.client(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Buyer Hooks"}, DNSNames: []string{"Hooks.Buyer.example"}, URIs: []*url.URL{uri}, EmailAddresses: []string{"ops@buyer.example"}})
	f := func(who *http.Client, id string, status int, detail string) {
		t.Helper()
		got, resp, err := fetch(t, who, "https://"+n.addr+"/v1/postbacks/"+id+"?payout=1")
		if err != nil || got != status {
			t.Errorf("%s: %d, %v; want %d", id, got, err, status)
			return
		}
		if resp.ProtoMajor != 1 || resp.TLS.Version < tls.VersionTLS12 {
			t.Errorf("%s: %s over TLS %x", id, resp.Proto, resp.TLS.Version)
		}
		if detail != "" {
			if r := n.Refused(id)[0]; r.Reason != "certificate" || r.Detail != detail || r.Advice == "" {
				t.Errorf("%s: %+v, want %s", id, r, detail)
			}
		}
	}
	who, nobody := httpsClient(t, root, buyer), httpsClient(t, root)
	for _, id := range []string{"open", "dns", "uri", "mail", "cn"} {
		f(who, id, 200, "")
		if id != "open" {
			f(nobody, id, 401, "certificate_missing")
			f(httpsClient(t, root, trusted.client(t, &x509.Certificate{Subject: pkix.Name{CommonName: "buyer"}, DNSNames: []string{"*.buyer.example", "example"}})), id, 401, "certificate_other_name")
		}
	}
	f(nobody, "open", 200, "")
	stranger, forged := httpsClient(t, root), other.client(t, &x509.Certificate{DNSNames: []string{"hooks.buyer.example"}})
	stranger.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &forged, nil }
	if _, _, err := fetch(t, stranger, "https://"+n.addr+"/v1/postbacks/dns"); err == nil {
		t.Error("a certificate of another authority is let in")
	}
	clock.move(2 * time.Hour) // the connection is older than the certificate's end
	f(who, "dns", 401, "certificate_expired")

	noCA, err := NewTLS(tlsFiles(t, root, nil), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){"certificate_without_tls": nil, "certificate_without_ca": func(c *Config) { c.TLS = noCA }} {
		n := startNode(t, change, bound("dns", "hooks.buyer.example"))
		scheme := "http://"
		if change != nil {
			scheme = "https://"
		}
		if status, _, err := fetch(t, who, scheme+n.addr+"/v1/postbacks/dns"); err != nil || status != 401 || n.Refused("dns")[0].Detail != want {
			t.Errorf("%s: %d, %v, %+v", want, status, err, n.Refused("dns"))
		}
	}
}

// Only TLS 1.2 and above, and certificates are taken up when their files change
// for good ones.
func TestTLSReload(t *testing.T) {
	root, next := newAuthority(t, "root"), newAuthority(t, "next")
	files := tlsFiles(t, root, nil)
	clock := &stillClock{at: testStart}
	var log bytes.Buffer
	ends, err := NewTLS(files, slog.New(slog.NewTextHandler(&log, nil)), clock.now)
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, func(c *Config) { c.TLS = ends }, testSource(t, source.Spec{ID: "buyer"}))
	f := func(who *authority, good bool) {
		t.Helper()
		status, _, err := fetch(t, httpsClient(t, who), "https://"+n.addr+"/v1/postbacks/buyer")
		if (err == nil && status == 200) != good {
			t.Errorf("%s: %d, %v", who.cert.Subject.CommonName, status, err)
		}
	}
	f(root, true)
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	if c, err := tls.Dial("tcp", n.addr, old); err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
	if err := os.WriteFile(files.Cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(root, true) // it is not time to look
	clock.move(TLSLookEvery)
	f(root, true) // what cannot be used is left alone
	write(t, filepath.Dir(files.Cert), "server", next.server(t))
	clock.move(TLSLookEvery)
	f(next, true)
	f(root, false)
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	clock.move(TLSLookEvery)
	f(next, true)
	if text := log.String(); !strings.Contains(text, "cannot be used") || !strings.Contains(text, "taken up anew") || strings.Contains(text, "PRIVATE") {
		t.Errorf("log: %s", text)
	}
}

func TestTLSFilesThatCannotBeUsed(t *testing.T) {
	root := newAuthority(t, "root")
	good := tlsFiles(t, root, root)
	other := tlsFiles(t, root, nil)
	f := func(files TLSFiles, want string) {
		t.Helper()
		if _, err := NewTLS(files, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", files, err, want)
		}
	}
	f(TLSFiles{Cert: good.Cert}, "tls-key")
	f(TLSFiles{Cert: good.Cert, Key: filepath.Join(t.TempDir(), "none")}, "none")
	f(TLSFiles{Cert: good.Cert, Key: other.Key}, "own key")
	f(TLSFiles{Cert: good.Cert, Key: good.Key, ClientCA: good.Key}, "client-ca")
}
