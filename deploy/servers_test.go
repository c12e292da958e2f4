package deploy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unit is a systemd unit: section → key → values.
type unit map[string]map[string][]string

func readUnit(t *testing.T) unit {
	t.Helper()
	u, section := unit{}, ""
	for line := range strings.Lines(read(t, "tallyhook.service")) {
		line = strings.TrimSpace(line)
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
			u[section] = map[string][]string{}
		case !ok || section == "":
			t.Fatalf("tallyhook.service: %q is no setting", line)
		default:
			u[section][key] = append(u[section][key], value)
		}
	}
	return u
}

func TestUnit(t *testing.T) {
	u := readUnit(t)
	service := u["Service"]
	for _, section := range []string{"Unit", "Service", "Install"} {
		if u[section] == nil {
			t.Fatalf("no section %s", section)
		}
	}
	for key, want := range map[string]string{
		"Restart": "always", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateDevices": "yes",
		"CapabilityBoundingSet": "", "StateDirectory": "tallyhook", "UMask": "0077", "LimitCORE": "0", "KillSignal": "SIGTERM",
	} {
		if have := service[key]; len(have) != 1 || have[0] != want {
			t.Errorf("%s is %q, want %q", key, have, want)
		}
	}
	stop, err := strconv.Atoi(strings.TrimSuffix(service["TimeoutStopSec"][0], "s"))
	if err != nil || stop <= stopSeconds(t) {
		t.Errorf("TimeoutStopSec=%s, a node may take %d s to stop", service["TimeoutStopSec"][0], stopSeconds(t))
	}
	words := strings.Fields(service["ExecStart"][0])
	if !slices.Contains(program.commands, words[1]) {
		t.Errorf("ExecStart runs %q, which is no command", words[1])
	}
	for _, w := range words[2:] {
		if flag, ok := strings.CutPrefix(w, "--"); ok && !slices.Contains(program.settings, flag) {
			t.Errorf("ExecStart gives --%s, which serve does not know", flag)
		}
	}
	soft, high, most := mebibytes(t, strings.TrimPrefix(service["Environment"][0], "GOMEMLIMIT=")), mebibytes(t, service["MemoryHigh"][0]), mebibytes(t, service["MemoryMax"][0])
	if soft >= high || high >= most {
		t.Errorf("GOMEMLIMIT %d MiB, MemoryHigh %d, MemoryMax %d: each is to stand below the next", soft, high, most)
	}
}

// TestMemoryOfNodesInCompose: Go is to collect before the kernel kills.
func TestMemoryOfNodesInCompose(t *testing.T) {
	for name, s := range readCompose(t).Services {
		if soft := s.Environment["GOMEMLIMIT"]; soft != "" {
			most := fmt.Sprint(s.Deploy.Resources.Limits["memory"])
			if mebibytes(t, soft) >= mebibytes(t, most) {
				t.Errorf("%s: GOMEMLIMIT %s is not below the limit of %s", name, soft, most)
			}
		}
	}
}

// mebibytes reads 1800MiB, 2g or 4G.
func mebibytes(t *testing.T, text string) int {
	t.Helper()
	m := regexp.MustCompile(`^(\d+)(MiB|m|M|GiB|g|G)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("%q is no amount of memory", text)
	}
	n, _ := strconv.Atoi(m[1])
	if strings.ContainsAny(m[2][:1], "gG") {
		n *= 1024
	}
	return n
}

// nodes of compose.yaml, by name: where they listen and are administered.
func nodes(t *testing.T) map[string][2]string {
	t.Helper()
	list := map[string][2]string{}
	for name, s := range readCompose(t).Services {
		if s.isNode() && len(s.Command) == 0 {
			list[name] = [2]string{
				strings.TrimPrefix(s.Environment["TALLYHOOK_LISTEN"], "0.0.0.0:"),
				strings.TrimPrefix(s.Environment["TALLYHOOK_ADMIN"], "0.0.0.0:"),
			}
		}
	}
	return list
}

func TestBalancerAsksEveryNode(t *testing.T) {
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(read(t, "haproxy.cfg"), "")
	check := firsts(regexp.MustCompile(`check port (\d+)`), text)
	if len(check) != 1 || !strings.Contains(text, "uri /readyz") || !strings.Contains(text, "expect status 200") {
		t.Errorf("the balancer asks port %v: want /readyz of the admin address", check)
	}
	for name, at := range nodes(t) {
		if !regexp.MustCompile(`(?m)^  server ` + name + ` ` + name + `:` + at[0] + `$`).MatchString(text) {
			t.Errorf("the balancer does not send to %s:%s", name, at[0])
		}
		if !slices.Equal(check, []string{at[1]}) {
			t.Errorf("the balancer asks port %v, %s answers at %s", check, name, at[1])
		}
	}
	// %r, %HU, %HP, %HQ and httplog hold paths and queries, which hold tokens.
	format := firsts(regexp.MustCompile(`log-format "([^"]*)"`), text)
	if len(format) != 1 || regexp.MustCompile(`%(r|HU|HP|HPO|HQ|hr|hs)\b|%\{`).MatchString(format[0]) || strings.Contains(text, "httplog") {
		t.Errorf("the balancer's log %q may hold tokens of URLs", format)
	}
}

func TestPrometheusScrapesEveryNode(t *testing.T) {
	var config struct {
		Global  map[string]string `json:"global"`
		Rules   []string          `json:"rule_files"`
		Scrapes []struct {
			Job    string `json:"job_name"`
			Static []struct {
				Targets []string `json:"targets"`
			} `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	decode(t, "prometheus.yaml", &config)
	if len(config.Scrapes) != 1 || config.Scrapes[0].Job != "tallyhook" || len(config.Scrapes[0].Static) != 1 {
		t.Fatalf("scrapes %+v: alerts want one job named tallyhook", config.Scrapes)
	}
	for name, at := range nodes(t) {
		if target := name + ":" + at[1]; !slices.Contains(config.Scrapes[0].Static[0].Targets, target) {
			t.Errorf("%s is not scraped", target)
		}
	}
	mounted := slices.ContainsFunc(readCompose(t).Services["prometheus"].Volumes, func(v string) bool {
		return v == "./prometheus-alerts.yaml:"+config.Rules[0]+":ro"
	})
	if !mounted {
		t.Errorf("the rules %v are not what compose.yaml mounts", config.Rules)
	}
}
