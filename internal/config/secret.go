package config

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted stands for a secret wherever one would be printed.
const redacted = "[redacted]"

// Secret holds a value that no log, message or dump may show: every way of
// printing or encoding it gives "[redacted]". The zero value is empty.
type Secret struct {
	// A pointer, because fmt does not call methods on unexported fields of
	// other structs but prints what it finds there: for a pointer, a number.
	value *string
}

// NewSecret returns a Secret that holds value.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the value itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redacted }

// Format writes "[redacted]" whatever the verb.
func (Secret) Format(f fmt.State, _ rune) {
	// The error is the printer's own and fmt ignores it as well.
	_, _ = io.WriteString(f, redacted)
}

// MarshalText returns "[redacted]", also to encoding/json.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
