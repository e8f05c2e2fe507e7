package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	const value = "hunter2"
	s := NewSecret(value)
	type wrapper struct {
		Exported Secret
		hidden   Secret
		Pointer  *Secret
	}
	w := wrapper{Exported: s, hidden: s, Pointer: &s}
	c := Default()
	c.Admin.Token = s

	printed := make(map[string]string)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed[verb] = fmt.Sprintf(verb, s)
		if got := printed[verb]; got != redacted {
			t.Errorf("%s prints %q, want %q", verb, got, redacted)
		}
		printed[verb+" of a struct"] = fmt.Sprintf(verb, w)
		printed[verb+" of a configuration"] = fmt.Sprintf(verb, c)
	}
	printed["String"] = s.String()
	printed["GoString"] = s.GoString()
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("start", "token", s, "config", c)
		printed[name] = b.String()
		if !strings.Contains(b.String(), redacted) {
			t.Errorf("%s is %s, want %s in it", name, &b, redacted)
		}
	}
	for name, v := range map[string]any{"JSON": s, "JSON of a configuration": c} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		printed[name] = string(text)
		if !strings.Contains(string(text), redacted) {
			t.Errorf("%s is %s, want %s in it", name, text, redacted)
		}
	}
	for how, text := range printed {
		if strings.Contains(text, value) || strings.Contains(text, fmt.Sprintf("%x", value)) {
			t.Errorf("%s shows the secret: %s", how, text)
		}
	}
}

func TestSecretReveals(t *testing.T) {
	t.Parallel()
	if got := NewSecret("hunter2").Reveal(); got != "hunter2" {
		t.Errorf("Reveal is %q, want hunter2", got)
	}
	if got := (Secret{}).Reveal(); got != "" {
		t.Errorf("Reveal of the zero value is %q, want nothing", got)
	}
}
