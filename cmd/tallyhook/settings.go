package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"sigs.k8s.io/yaml"

	"github.com/tallyhook/tallyhook/source"
)

const envPrefix = "TALLYHOOK_"

// settingsFile is read from the folder in which a command runs, if it is there.
const settingsFile = "tallyhook.yaml"

// settings is a parsed settings file: flag name → value. A section named like
// a command holds that command's own flags; those of serve may stand at the
// top as well, as in the environment.
type settings struct {
	file string
	top  map[string]any
}

// settingsHere reads tallyhook.yaml; nil when there is none.
func settingsHere() (*settings, error) {
	f, err := os.Open(settingsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	defer f.Close()
	return readSettings(settingsFile, f)
}

// loadSettings reads the file that --config names, for kong.
func loadSettings(r io.Reader) (kong.Resolver, error) {
	name := "settings file"
	if f, ok := r.(*os.File); ok {
		name = f.Name()
	}
	s, err := readSettings(name, r)
	if err != nil {
		return nil, err // not s: a nil *settings is no nil Resolver
	}
	return s, nil
}

func readSettings(name string, r io.Reader) (*settings, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	var v any
	exact := func(d *json.Decoder) *json.Decoder { d.UseNumber(); return d }
	if err := yaml.UnmarshalStrict(text, &v, exact); err != nil {
		why := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "yaml: ")
		return nil, fmt.Errorf("%s: %s", name, strings.Join(strings.Fields(why), " "))
	}
	switch top := v.(type) {
	case nil:
		return &settings{file: name}, nil
	case map[string]any:
		return &settings{name, top}, nil
	}
	return nil, fmt.Errorf("%s: want a line NAME: VALUE for each setting, such as listen: \":8080\"", name)
}

// Validate refuses keys that no flag has.
func (s *settings) Validate(k *kong.Application) error {
	flags := k.Node.Flags
	if i := slices.IndexFunc(k.Node.Children, func(c *kong.Node) bool { return c.Name == flatSection }); i >= 0 {
		flags = slices.Concat(flags, k.Node.Children[i].Flags)
	}
	return s.validate("", s.top, k.Node, flags)
}

// flatSection is the command whose flags may stand at the top of the file.
const flatSection = "serve"

func (s *settings) validate(path string, section map[string]any, n *kong.Node, flags []*kong.Flag) error {
	var known []string
	for _, f := range flags {
		known = append(known, f.Name)
	}
	for _, c := range n.Children {
		known = append(known, c.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(section)) {
		sub, nested := section[key].(map[string]any)
		child := slices.IndexFunc(n.Children, func(c *kong.Node) bool { return c.Name == key })
		flag := slices.ContainsFunc(flags, func(f *kong.Flag) bool { return f.Name == key })
		switch {
		case child >= 0 && nested:
			if err := s.validate(path+key+".", sub, n.Children[child], n.Children[child].Flags); err != nil {
				return err
			}
		case child >= 0 && section[key] == nil:
		case flag && !nested:
		case flag:
			return fmt.Errorf("%s: key %q: want a value, not a section", s.file, path+key)
		case child >= 0:
			return fmt.Errorf("%s: key %q is a section: want the flags of that command below it", s.file, path+key)
		default:
			return fmt.Errorf("%s: key %q is not known%s", s.file, path+key, meant(key, known))
		}
	}
	return nil
}

// Resolve gives a flag's value from the section of its command or from the top.
func (s *settings) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	if parent == nil || parent.Node() == nil {
		return settingText(s.top[flag.Name]), nil
	}
	path := commandPath(parent.Node())
	section := s.top
	for _, name := range path {
		section, _ = section[name].(map[string]any)
	}
	v := settingText(section[flag.Name])
	if v == nil && len(path) == 1 && path[0] == flatSection {
		v = settingText(s.top[flag.Name])
	}
	return v, nil
}

// settingText writes a setting's value as a flag takes it; nil is none. A
// section of the same name is none.
func settingText(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]string, len(v))
		for i, e := range v {
			list[i] = fmt.Sprint(e)
		}
		return strings.Join(list, ",")
	case map[string]any, nil:
		return nil
	default:
		return fmt.Sprint(v)
	}
}

func commandPath(n *kong.Node) (path []string) {
	for ; n != nil && n.Type == kong.CommandNode; n = n.Parent {
		path = append([]string{n.Name}, path...)
	}
	return path
}

// checkEnvironment refuses TALLYHOOK_ variables that no flag reads.
func checkEnvironment(k *kong.Application, environ []string) error {
	var known []string
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		for _, f := range n.Flags {
			known = append(known, f.Envs...)
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(k.Node)
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, envPrefix) && !slices.Contains(known, name) {
			return fmt.Errorf("environment variable %s is not known%s", name, meant(strings.TrimPrefix(name, envPrefix), trimmed(known)))
		}
	}
	return nil
}

func trimmed(names []string) (list []string) {
	for _, n := range names {
		list = append(list, strings.ToLower(strings.TrimPrefix(n, envPrefix)))
	}
	return list
}

// meant suggests the nearest known word.
func meant(word string, known []string) string {
	if near := source.Nearest(word, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// complete fills in what follows from other settings and refuses what this
// build cannot do.
func (o *Options) complete() error {
	if o.Store == "" {
		o.Store = "sqlite:" + filepath.Join(o.Data, "tallyhook.db")
	}
	for _, check := range []func() error{o.checkStore, o.checkIndex, o.checkActivity} {
		if err := check(); err != nil {
			return err
		}
	}
	if o.KeyFile == "" {
		o.KeyFile = filepath.Join(o.Data, "secret.key")
	}
	if o.AdminKeyFile == "" {
		o.AdminKeyFile = filepath.Join(o.Data, "admin.key")
	}
	for _, a := range []struct{ name, addr string }{{"listen", o.Listen}, {"admin", o.Admin}} {
		_, port, err := net.SplitHostPort(a.addr)
		if err != nil {
			return fmt.Errorf("%s %q: want HOST:PORT or :PORT", a.name, a.addr)
		}
		if _, err := net.LookupPort("tcp", port); err != nil {
			return fmt.Errorf("%s %q: there is no port %q: want 0 to 65535", a.name, a.addr, port)
		}
	}
	if (o.TLSCert == "") != (o.TLSKey == "") || (o.ClientCA != "" && o.TLSCert == "") {
		return fmt.Errorf("tls-cert %q, tls-key %q, client-ca %q: want a certificate and its key, and with both of them an authority of clients or none", o.TLSCert, o.TLSKey, o.ClientCA)
	}
	if u, err := url.Parse(o.PublicURL); o.PublicURL != "" && (err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "") {
		return fmt.Errorf("public-url %q: want a URL that begins with http:// or https://, such as https://hooks.example.com", o.PublicURL)
	}
	return nil
}

func (o *Options) checkStore() error {
	if !hasScheme(o.Store, "sqlite:", "postgres://", "postgresql://") {
		return fmt.Errorf("store %q: want sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE", schemeOf(o.Store))
	}
	return nil
}

func (o *Options) checkIndex() error {
	if o.Index != "memory:" && !hasScheme(o.Index, "redis://", "rediss://", "redis-sentinel://", "rediss-sentinel://", "redis-cluster://", "rediss-cluster://") {
		return fmt.Errorf("index %q: want memory: or redis://HOST:6379/0, redis-sentinel://…, redis-cluster://…, with rediss for TLS", schemeOf(o.Index))
	}
	return nil
}

func (o *Options) checkActivity() error {
	if o.Activity == o.Store {
		o.Activity = "" // its views are there anyway
	}
	if o.Activity != "" && !hasScheme(o.Activity, "clickhouse://", "http://", "https://") {
		return fmt.Errorf("activity %q: want clickhouse://HOST:9000/DATABASE or http://HOST:8123/DATABASE, or leave it empty for views in the primary store", schemeOf(o.Activity))
	}
	return nil
}

func hasScheme(url string, schemes ...string) bool {
	return slices.ContainsFunc(schemes, func(s string) bool { return strings.HasPrefix(url, s) })
}

// schemeOf keeps of a URL what is safe to print: passwords stand behind the
// scheme.
func schemeOf(url string) string {
	if scheme, _, ok := strings.Cut(url, "://"); ok {
		return scheme + "://…"
	}
	return url
}

// reachable turns a listen address into one that can be dialled from here.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// postbackBase is the address that senders' URLs begin with, as far as the
// settings tell.
func (o *Options) postbackBase() string {
	if o.PublicURL != "" {
		return o.signedBase()
	}
	return o.scheme() + "://" + reachable(o.Listen)
}

// signedBase is what the URLs begin with that senders sign: nothing but an
// operator's word, as a guess would refuse every signed URL.
func (o *Options) signedBase() string { return strings.TrimRight(o.PublicURL, "/") }

func (o *Options) scheme() string {
	if o.TLSCert != "" {
		return "https"
	}
	return "http"
}
