package deploy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// compose is the part of the compose file's form that compose.yaml uses. A key
// that is not here is a fault: either compose does not know it, or it is new
// and belongs here.
type compose struct {
	Name     string             `json:"name"`
	Hardened map[string]any     `json:"x-hardened"`
	Node     map[string]any     `json:"x-node"`
	Services map[string]service `json:"services"`
	Secrets  map[string]struct {
		File string `json:"file"`
	} `json:"secrets"`
	Networks map[string]struct {
		Internal bool `json:"internal"`
		IPAM     struct {
			Config []struct {
				Subnet string `json:"subnet"`
			} `json:"config"`
		} `json:"ipam"`
	} `json:"networks"`
	Volumes map[string]any `json:"volumes"`
}

type service struct {
	Image       string            `json:"image"`
	Build       map[string]any    `json:"build"`
	User        string            `json:"user"`
	Hostname    string            `json:"hostname"`
	Command     []string          `json:"command"`
	Environment map[string]string `json:"environment"`
	Secrets     []any             `json:"secrets"`
	Networks    any               `json:"networks"`
	Volumes     []string          `json:"volumes"`
	Tmpfs       []string          `json:"tmpfs"`
	Ports       []string          `json:"ports"`
	Profiles    []string          `json:"profiles"`
	DependsOn   map[string]struct {
		Condition string `json:"condition"`
	} `json:"depends_on"`
	Healthcheck *struct {
		Test        []string `json:"test"`
		Interval    string   `json:"interval"`
		Timeout     string   `json:"timeout"`
		StartPeriod string   `json:"start_period"`
		Retries     int      `json:"retries"`
		Disable     bool     `json:"disable"`
	} `json:"healthcheck"`
	ReadOnly    bool           `json:"read_only"`
	CapDrop     []string       `json:"cap_drop"`
	SecurityOpt []string       `json:"security_opt"`
	Restart     string         `json:"restart"`
	StopGrace   string         `json:"stop_grace_period"`
	ShmSize     string         `json:"shm_size"`
	Ulimits     map[string]any `json:"ulimits"`
	Logging     map[string]any `json:"logging"`
	Deploy      struct {
		Resources struct {
			Limits map[string]any `json:"limits"`
		} `json:"resources"`
	} `json:"deploy"`
}

func readCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	// Not UnmarshalStrict: it takes a key that goes before a merged one for a double.
	known := func(d *json.Decoder) *json.Decoder { d.DisallowUnknownFields(); return d }
	if err := yaml.Unmarshal([]byte(read(t, "compose.yaml")), &c, known); err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *service) isNode() bool { return strings.HasPrefix(s.Image, "tallyhook:") }

// secretNames lists a service's secrets, whether short or long.
func (s *service) secretNames() (list []string) {
	for _, v := range s.Secrets {
		switch v := v.(type) {
		case string:
			list = append(list, v)
		case map[string]any:
			name, _ := v["source"].(string)
			list = append(list, name)
		}
	}
	return list
}

func (s *service) networkNames() (list []string) {
	switch v := s.Networks.(type) {
	case []any:
		for _, n := range v {
			list = append(list, n.(string))
		}
	case map[string]any:
		for n := range v {
			list = append(list, n)
		}
	}
	return list
}

// TestComposeHoldsTogether: whatever a service names is there.
func TestComposeHoldsTogether(t *testing.T) {
	c := readCompose(t)
	used := map[string]bool{}
	for name, s := range c.Services {
		for _, secret := range s.secretNames() {
			if _, ok := c.Secrets[secret]; !ok {
				t.Errorf("%s uses the secret %q, which is not declared", name, secret)
			}
			used[secret] = true
		}
		if len(s.networkNames()) == 0 {
			t.Errorf("%s is on no network of ours", name)
		}
		for _, network := range s.networkNames() {
			if _, ok := c.Networks[network]; !ok {
				t.Errorf("%s is on the network %q, which is not declared", name, network)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, ".") {
				there(t, from, "compose.yaml, "+name)
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s uses the volume %q, which is not declared", name, from)
			}
		}
		for on, how := range s.DependsOn {
			other, ok := c.Services[on]
			switch {
			case !ok:
				t.Errorf("%s depends on %q, which is no service", name, on)
			case how.Condition == "service_healthy" && (other.Healthcheck == nil || other.Healthcheck.Disable):
				t.Errorf("%s waits for %s to be healthy, which has no health check", name, on)
			case how.Condition == "service_completed_successfully" && other.Restart != "no":
				t.Errorf("%s waits for %s to end, which is restarted", name, on)
			}
		}
	}
	for secret := range c.Secrets {
		if !used[secret] {
			t.Errorf("no service uses the secret %q", secret)
		}
	}
}

// TestComposeHardens: what every service has, and what only some may.
func TestComposeHardens(t *testing.T) {
	for name, s := range readCompose(t).Services {
		limits := s.Deploy.Resources.Limits
		switch {
		case !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true"):
			t.Errorf("%s is not hardened", name)
		case limits["memory"] == nil || limits["cpus"] == nil || limits["pids"] == nil:
			t.Errorf("%s has limits %v: want memory, cpus, pids", name, limits)
		case s.Restart == "":
			t.Errorf("%s has no restart policy", name)
		case s.Healthcheck == nil:
			t.Errorf("%s has no health check", name)
		case strings.HasSuffix(s.Image, ":latest") || !strings.Contains(s.Image, ":"):
			t.Errorf("%s runs %s: name a version", name, s.Image)
		case !s.isNode() && !regexp.MustCompile(`^[1-9][0-9]*:[0-9]+$`).MatchString(s.User):
			t.Errorf("%s runs as %q: want the number of a user who is not root", name, s.User)
		}
		for _, port := range s.Ports {
			if name != "balancer" && !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s: only the balancer is for the world", name, port)
			}
		}
		for key, value := range s.Environment {
			if regexp.MustCompile(`(?i)password|secret|_key$`).MatchString(key) && !strings.HasSuffix(key, "_FILE") && !strings.HasSuffix(key, "__FILE") {
				t.Errorf("%s has %s=%q in its environment: secrets come as files", name, key, value)
			}
		}
	}
}

func TestComposeSetsWhatNodesKnow(t *testing.T) {
	c := readCompose(t)
	nodes := 0
	for name, s := range c.Services {
		for key := range s.Environment {
			if strings.HasPrefix(key, "TALLYHOOK_") && !slices.Contains(program.env, key) {
				t.Errorf("%s sets %s, which the program does not know: %v", name, key, program.env)
			}
		}
		if !s.isNode() {
			continue
		}
		command := strings.Join(s.Command[:min(2, len(s.Command))], " ")
		if command != "" && !slices.Contains(program.commands, command) {
			t.Errorf("%s runs %q, which is no command: %v", name, command, program.commands)
		}
		if command != "" {
			continue
		}
		nodes++
		stop, err := time.ParseDuration(s.StopGrace)
		if err != nil || int(stop.Seconds()) <= stopSeconds(t) {
			t.Errorf("%s is killed after %s, a node may take %d s to stop", name, s.StopGrace, stopSeconds(t))
		}
		if !slices.Contains(s.Volumes, name+":/data") || s.Hostname != name {
			t.Errorf("%s shares its journal or its name: volumes %v, host name %q", name, s.Volumes, s.Hostname)
		}
	}
	if nodes < 2 {
		t.Errorf("%d nodes: want two at least", nodes)
	}
	// The variables of the file itself are the operator's; ours would be
	// refused where they are exported.
	for _, name := range firsts(regexp.MustCompile(`\$\{([A-Z_]+)`), read(t, "compose.yaml")) {
		if strings.HasPrefix(name, "TALLYHOOK_") {
			t.Errorf("compose.yaml reads %s from the environment of who runs it: name it otherwise", name)
		}
	}
}

// TestTrustedProxyIsTheBalancer: otherwise every sender has one address, or
// anybody may claim one.
func TestTrustedProxyIsTheBalancer(t *testing.T) {
	c := readCompose(t)
	front, _ := c.Services["balancer"].Networks.(map[string]any)["front"].(map[string]any)
	trusted := c.Services["node-a"].Environment["TALLYHOOK_TRUSTED_PROXIES"]
	if front["ipv4_address"] != trusted {
		t.Errorf("the balancer has %v, nodes trust %q", front["ipv4_address"], trusted)
	}
}
