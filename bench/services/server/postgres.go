package server

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// postgresRecipe is a PostgreSQL cluster with one superuser, reached over TCP
// with a password.
type postgresRecipe struct {
	program  string // the folder with initdb and postgres
	port     int
	durable  bool
	password string
	identity *identity // nil: ours
}

// postgresUser is the superuser of every cluster that this package makes.
const postgresUser = "postgres"

func newPostgresRecipe(program string, port int, durable bool) (*postgresRecipe, error) {
	r := &postgresRecipe{program: program, port: port, durable: durable, password: rand.Text()}
	if os.Geteuid() != 0 {
		return r, nil
	}
	// initdb and postgres refuse to run as root.
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s has the id %q: %w", name, u.Uid, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s has the group %q: %w", name, u.Gid, err)
		}
		r.identity = &identity{uid: uint32(uid), gid: uint32(gid)}
		return r, nil
	}
	return nil, fmt.Errorf("postgres refuses to run as root, and there is neither a user postgres nor nobody: %w", ErrUnavailable)
}

// prepare makes the cluster in dir/data.
func (r *postgresRecipe) prepare(dir string) error {
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(r.password), 0o600); err != nil {
		return err
	}
	if r.identity != nil {
		for _, path := range []string{dir, secret} {
			if err := os.Chown(path, int(r.identity.uid), int(r.identity.gid)); err != nil {
				return err
			}
		}
	}
	cmd := exec.Command(filepath.Join(r.program, "initdb"), "--pgdata", filepath.Join(dir, "data"), "--username", postgresUser,
		"--pwfile", secret, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")
	cmd.Dir = dir
	become(cmd, r.identity)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return os.Remove(secret)
}

func (r *postgresRecipe) command(dir string) command {
	argv := []string{filepath.Join(r.program, "postgres"), "-D", filepath.Join(dir, "data"), "-p", strconv.Itoa(r.port)}
	for _, setting := range r.settings() {
		argv = append(argv, "-c", setting)
	}
	return command{argv: argv, end: syscall.SIGQUIT, identity: r.identity}
}

// settings differ from a new cluster's own only where tests need it: many
// packages at once want many connections, and nobody else shall reach it.
func (r *postgresRecipe) settings() []string {
	settings := []string{"listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=400", "shared_buffers=128MB", "log_min_messages=fatal"}
	if !r.durable {
		settings = append(settings, "fsync=off", "full_page_writes=off") // see Config.Durable
	}
	return settings
}

func (r *postgresRecipe) url() string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(postgresUser, r.password), Host: fmt.Sprintf("127.0.0.1:%d", r.port),
		Path: "/postgres", RawQuery: "sslmode=disable"}
	return u.String()
}
