package main

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"sigs.k8s.io/yaml"

	"github.com/tallyhook/tallyhook/source"
)

const envPrefix = "TALLYHOOK_"

// settings is a parsed tallyhook.yaml: flag name → value. A section named like
// a command holds that command's own flags.
type settings map[string]any

// loadSettings reads tallyhook.yaml for kong.
func loadSettings(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	s := settings{}
	if err := yaml.UnmarshalStrict(text, &s); err != nil {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	return s, nil
}

// Validate refuses keys that no flag has.
func (s settings) Validate(k *kong.Application) error {
	return s.validate("", s, k.Node)
}

func (s settings) validate(path string, section map[string]any, n *kong.Node) error {
	var known []string
	for _, f := range n.Flags {
		known = append(known, f.Name)
	}
	for _, c := range n.Children {
		known = append(known, c.Name)
	}
	for key, value := range section {
		if child := slices.IndexFunc(n.Children, func(c *kong.Node) bool { return c.Name == key }); child >= 0 {
			if sub, ok := value.(map[string]any); ok {
				if err := s.validate(path+key+".", sub, n.Children[child]); err != nil {
					return err
				}
				continue
			}
		}
		if !slices.ContainsFunc(n.Flags, func(f *kong.Flag) bool { return f.Name == key }) {
			return fmt.Errorf("settings file: key %q is not known%s", path+key, meant(key, known))
		}
	}
	return nil
}

// Resolve gives a flag's value from the section of its command or from the top.
func (s settings) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	section := map[string]any(s)
	if parent != nil && parent.Node() != nil {
		for _, name := range commandPath(parent.Node()) {
			sub, ok := section[name].(map[string]any)
			if !ok {
				return nil, nil
			}
			section = sub
		}
	}
	switch v := section[flag.Name].(type) {
	case []any:
		list := make([]string, len(v))
		for i, e := range v {
			list[i] = fmt.Sprint(e)
		}
		return strings.Join(list, ","), nil
	case map[string]any:
		return nil, nil // a command of the same name
	case nil:
		return nil, nil
	default:
		return fmt.Sprint(v), nil
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
	if !strings.HasPrefix(o.Store, "sqlite:") {
		return fmt.Errorf("store %q: this build keeps its primary store in sqlite:PATH only", o.Store)
	}
	if o.Index != "memory:" {
		return fmt.Errorf("index %q: this build has memory: only", o.Index)
	}
	if o.Activity != "" && o.Activity != o.Store {
		return fmt.Errorf("activity %q: this build shows activity from the primary store only; leave it empty", o.Activity)
	}
	if o.KeyFile == "" {
		o.KeyFile = filepath.Join(o.Data, "secret.key")
	}
	if o.AdminKeyFile == "" {
		o.AdminKeyFile = filepath.Join(o.Data, "admin.key")
	}
	for _, a := range []struct{ name, addr string }{{"listen", o.Listen}, {"admin", o.Admin}} {
		if _, _, err := net.SplitHostPort(a.addr); err != nil {
			return fmt.Errorf("%s %q: want HOST:PORT or :PORT", a.name, a.addr)
		}
	}
	return nil
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
		return strings.TrimRight(o.PublicURL, "/")
	}
	return "http://" + reachable(o.Listen)
}
