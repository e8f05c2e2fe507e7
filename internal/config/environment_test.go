package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEnvironment(t *testing.T) {
	t.Parallel()
	credentials := t.TempDir()
	write(t, credentials, "admin-token", "from-credential\r\n")
	write(t, credentials, "empty", "\n")
	const domains = "domains: [cmux.sh]\n"

	tests := []struct {
		name    string
		file    string
		env     []string
		domains []string
		token   string
		fault   string
	}{
		{
			name:    "EDGE_DOMAINS wins over the file",
			file:    domains,
			env:     []string{"EDGE_DOMAINS", "cmux.app, cmux.localhost"},
			domains: []string{"cmux.app", "cmux.localhost"},
		},
		{
			name:    "EDGE_DOMAINS is enough without a file",
			env:     []string{"EDGE_DOMAINS", "cmux.app"},
			domains: []string{"cmux.app"},
		},
		{
			name:    "an empty EDGE_DOMAINS is as if unset",
			file:    domains,
			env:     []string{"EDGE_DOMAINS", ""},
			domains: []string{"cmux.sh"},
		},
		{
			name:  "each domain of EDGE_DOMAINS is checked at its place",
			file:  domains,
			env:   []string{"EDGE_DOMAINS", "cmux.app, CMUX.sh,,cmux.app"},
			fault: "EDGE_DOMAINS:1:11: \"CMUX.sh\" is not in lower case; write \"cmux.sh\"\nEDGE_DOMAINS:1:19: an empty name; write a domain such as \"cmux.sh\", or delete the entry\nEDGE_DOMAINS:1:20: \"cmux.app\" is listed twice; delete one of the two",
		},
		{
			name:  "faults of the file stand before those of the environment",
			file:  "domains: [cmux.sh]\nlog: {level: loud}\n",
			env:   []string{"EDGE_DOMAINS", "cmux"},
			fault: "edge.yaml:2:14: log.level: \"loud\" is unknown; write debug, info, warn or error\nEDGE_DOMAINS:1:1: \"cmux\" is a single word; write a full domain such as \"cmux.localhost\"",
		},
		{
			name:    "EDGE_ADMIN_TOKEN wins over admin.token_file, which is not even read",
			file:    domains + "admin: {token_file: /nowhere/token}\n",
			env:     []string{"EDGE_ADMIN_TOKEN", "from-environment"},
			domains: []string{"cmux.sh"},
			token:   "from-environment",
		},
		{
			name:    "EDGE_ADMIN_TOKEN opens the admin port to other machines",
			file:    domains + "listen: {admin: \":9090\"}\n",
			env:     []string{"EDGE_ADMIN_TOKEN", "from-environment\n"},
			domains: []string{"cmux.sh"},
			token:   "from-environment",
		},
		{
			name:  "a blank EDGE_ADMIN_TOKEN is refused",
			file:  domains,
			env:   []string{"EDGE_ADMIN_TOKEN", "  "},
			fault: "EDGE_ADMIN_TOKEN:1:1: the secret is empty; set the secret alone",
		},
		{
			name:    "a bare name is a credential",
			file:    domains + "listen: {admin: \":9090\"}\nadmin: {token_file: admin-token}\n",
			env:     []string{"CREDENTIALS_DIRECTORY", credentials},
			domains: []string{"cmux.sh"},
			token:   "from-credential",
		},
		{
			name:    "a path is not a credential",
			file:    domains + "admin: {token_file: ./testdata/secrets/admin-token}\n",
			env:     []string{"CREDENTIALS_DIRECTORY", credentials},
			domains: []string{"cmux.sh"},
			token:   "correct-horse-battery-staple",
		},
		{
			name:  "an empty credential is refused",
			file:  domains + "admin: {token_file: empty}\n",
			env:   []string{"CREDENTIALS_DIRECTORY", credentials},
			fault: "edge.yaml:2:21: admin.token_file: the secret is empty; name a file that holds the secret alone",
		},
		{
			name:  "a missing credential is refused",
			file:  domains + "admin: {token_file: other}\n",
			env:   []string{"CREDENTIALS_DIRECTORY", credentials},
			fault: "edge.yaml:2:21: admin.token_file: the file cannot be read (no such file or directory); name a file that holds the secret alone",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := Parse("edge.yaml", []byte(tt.file), environ(tt.env...))
			if tt.fault != "" {
				if err == nil {
					t.Fatalf("accepted, want %s", tt.fault)
				}
				if diff := cmp.Diff(tt.fault, err.Error()); diff != "" {
					t.Errorf("faults (-want +got):\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.domains, c.Domains); diff != "" {
				t.Errorf("Domains (-want +got):\n%s", diff)
			}
			if got := c.Admin.Token.Reveal(); got != tt.token {
				t.Errorf("Token is %q, want %q", got, tt.token)
			}
		})
	}
}

func TestFaultsShowNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	long := write(t, dir, "long", strings.Repeat("hunter2", 20_000))
	two := write(t, dir, "two", "hunter2\nhunter2\n")
	for _, tt := range []struct {
		name, file string
		env        []string
	}{
		{name: "the token in place of its file", file: "admin: {token_file: hunter2}"},
		{name: "the token as a path", file: "admin: {token_file: hunter2/x}"},
		{name: "the token as the section", file: "admin: hunter2"},
		{name: "the token below an unknown key", file: "admin: {token: hunter2}"},
		{name: "the token in a list", file: "admin: {token_file: [hunter2]}"},
		{name: "a file with two lines", file: "admin: {token_file: " + two + "}"},
		{name: "a file that is too large", file: "admin: {token_file: " + long + "}"},
		{name: "a variable with two lines", env: []string{"EDGE_ADMIN_TOKEN", "hunter2\nhunter2"}},
		{name: "a variable with blanks", env: []string{"EDGE_ADMIN_TOKEN", " hunter2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("edge.yaml", []byte("domains: [cmux.sh]\n"+tt.file+"\n"), environ(tt.env...))
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the secret is in %q", err)
			}
		})
	}
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
