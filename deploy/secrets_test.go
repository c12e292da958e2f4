package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestMakeSecrets: the script makes every secret that compose.yaml names, each
// readable in its container, and never writes over one.
func TestMakeSecrets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	run := func() {
		if out, err := exec.Command("./make-secrets", dir).CombinedOutput(); err != nil {
			t.Fatalf("make-secrets: %v\n%s", err, out)
		}
	}
	run()
	made := map[string]string{}
	for name, s := range readCompose(t).Secrets {
		if want := "./secrets/" + name; s.File != want {
			t.Errorf("secret %s comes from %s, want %s", name, s.File, want)
		}
		made[name] = read(t, filepath.Join(dir, name))
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o444 {
			t.Errorf("%s has mode %v, %v: a container's user could not read it, or could write it", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v: others than its owner may enter", info.Mode(), err)
	}

	password := func(file, key string) string {
		var settings map[string]string
		if err := yaml.UnmarshalStrict([]byte(made[file]), &settings); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		u, err := url.Parse(settings[key])
		if err != nil {
			t.Fatalf("%s: %s: %v", file, key, err)
		}
		secret, _ := u.User.Password()
		return secret
	}
	users := clickhouseUsers(t, made["clickhouse_users.xml"])
	for what, pair := range map[string][2]string{
		"app role":   {password("node.yaml", "store"), made["postgres_app_password"]},
		"owner":      {password("owner.yaml", "store"), made["postgres_owner_password"]},
		"clickhouse": {digest(password("node.yaml", "activity")), users["tallyhook"]},
		"analyst":    {digest(made["clickhouse_analyst_password"]), users["analyst"]},
		"redis":      {"requirepass " + password("node.yaml", "index"), strings.SplitN(made["redis.conf"], "\n", 2)[0]},
	} {
		if pair[0] != pair[1] || len(pair[0]) < 32 {
			t.Errorf("%s: %q and %q are to be one password, a long one", what, pair[0], pair[1])
		}
	}
	if made["postgres_app_password"] == made["postgres_owner_password"] {
		t.Error("two roles have one password")
	}

	run()
	for name, text := range made {
		if now := read(t, filepath.Join(dir, name)); now != text {
			t.Errorf("a second run changed %s", name)
		}
	}
}

func digest(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// clickhouseUsers gives the digest of each user's password.
func clickhouseUsers(t *testing.T, text string) map[string]string {
	t.Helper()
	var file struct {
		Users struct {
			List []struct {
				XMLName  xml.Name
				Password string `xml:"password_sha256_hex"`
			} `xml:",any"`
		} `xml:"users"`
	}
	if err := xml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatalf("clickhouse_users.xml: %v", err)
	}
	users := map[string]string{}
	for _, u := range file.Users.List {
		users[u.XMLName.Local] = u.Password
	}
	return users
}
