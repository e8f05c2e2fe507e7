package pve

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// Config says how to reach a cluster. URL and Token are required.
type Config struct {
	// URL is the API's address without path: "https://pve.example.com:8006".
	URL string
	// Token is "user@realm!name=secret".
	Token Secret
	// CA holds the certificates to trust, in PEM; empty is the system's.
	CA []byte
	// Fingerprint is the SHA-256 of the server's certificate, "AA:BB:…". With
	// it any certificate that has it is trusted, and no other.
	Fingerprint string
	// Nodes are the nodes that take new instances; empty is every node. Guests
	// on other nodes stay ours.
	Nodes []string
	// Addresses says which of the addresses that guests claim are believed.
	Addresses sandbox.AddressRule
	// ReadTimeout and ActionTimeout bound a single request; 0 is 5 s and 20 s.
	// An action waits up to 10 s for the guest's lock before it answers.
	ReadTimeout, ActionTimeout time.Duration
	// TaskTimeout is how long a task may run; 0 is 10 min.
	TaskTimeout time.Duration
	// AddressTimeout is how long a guest that was booted may take to tell its
	// address; 0 is 60 s.
	AddressTimeout time.Duration
	// PollInterval is how often tasks and states are looked at; 0 is 100 ms.
	PollInterval time.Duration
}

// Guests says how one kind of guest is made and recognised. Its zero value
// wakes and routes what follows the naming convention, and creates nothing.
type Guests struct {
	// Templates are the VMIDs to clone, by preset; "default" is the one for
	// requests that name none.
	Templates map[string]int
	// Pool is where new guests are put, and whose members are all ours.
	Pool string
	// StartLimitPerNode is how many starts a node carries out at a time; 0 is
	// 2 for virtual machines and 8 for containers.
	StartLimitPerNode int
}

// Secret is a text that formats as "redacted".
type Secret string

// Format writes "redacted", whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "redacted") }

// MarshalText is "redacted".
func (Secret) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

func (c Config) withDefaults() Config {
	for _, f := range []struct {
		d    *time.Duration
		zero time.Duration
	}{
		{&c.ReadTimeout, 5 * time.Second},
		{&c.ActionTimeout, 20 * time.Second},
		{&c.TaskTimeout, 10 * time.Minute},
		{&c.AddressTimeout, time.Minute},
		{&c.PollInterval, 100 * time.Millisecond},
	} {
		if *f.d == 0 {
			*f.d = f.zero
		}
	}
	return c
}

// base checks the URL and returns it with the API's path.
func (c *Config) base() (string, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", sandbox.Errorf(sandbox.KindInvalid, "configure", "pve", "the URL must be https://host:port and nothing more")
	}
	return "https://" + u.Host + "/api2/json", nil
}

// checkToken tells what is wrong with the token without repeating it.
func (c *Config) checkToken() error {
	name, secret, _ := strings.Cut(string(c.Token), "=")
	user, id, _ := strings.Cut(name, "!")
	if !strings.Contains(user, "@") || id == "" || secret == "" || strings.ContainsAny(string(c.Token), "; \t\r\n") {
		return sandbox.Errorf(sandbox.KindInvalid, "configure", "pve", "the token must look like user@realm!name=secret")
	}
	return nil
}

// fingerprint is the configured hash; ok is false when there is none.
func (c *Config) fingerprint() (sum [sha256.Size]byte, ok bool, err error) {
	if c.Fingerprint == "" {
		return sum, false, nil
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(c.Fingerprint, ":", ""))
	if err != nil || len(raw) != len(sum) {
		return sum, false, sandbox.Errorf(sandbox.KindInvalid, "configure", "pve", "the fingerprint must be the 32 bytes of a SHA-256: AA:BB:…")
	}
	return [sha256.Size]byte(raw), true, nil
}
