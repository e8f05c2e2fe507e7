package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// ErrSecret is of every error about a secret. None of them holds it.
var ErrSecret = errors.New("webhook secret")

type secretError string

func (e secretError) Error() string        { return "webhook secret: " + string(e) }
func (e secretError) Is(target error) bool { return target == ErrSecret }

const (
	secretPrefix = "whsec_"
	// What Standard Webhooks asks of a key, in bytes.
	minKey = 24
	maxKey = 64
	// maxKeys is how many secrets may be valid during a rotation.
	maxKeys = 4
)

// Secret signs. It holds more than one key during a rotation: then each message
// has a signature by each, and the receiver takes any.
type Secret struct{ keys [][]byte }

// ParseSecret reads secrets of the form whsec_BASE64, separated by white space.
func ParseSecret(text string) (Secret, error) {
	fields := strings.Fields(text)
	switch {
	case len(fields) == 0:
		return Secret{}, secretError("is empty")
	case len(fields) > maxKeys:
		return Secret{}, secretError("has more than 4 parts")
	}
	var s Secret
	for _, field := range fields {
		encoded, ok := strings.CutPrefix(field, secretPrefix)
		if !ok {
			return Secret{}, secretError("does not begin with whsec_")
		}
		key, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil {
			return Secret{}, secretError("is not base64 after whsec_")
		}
		if len(key) < minKey || len(key) > maxKey {
			return Secret{}, secretError("is not 24 to 64 bytes long")
		}
		s.keys = append(s.keys, key)
	}
	return s, nil
}

// String hides the secret.
func (Secret) String() string { return "[secret]" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "[secret]" }

// Sign returns the value of webhook-signature.
func (s Secret) Sign(id string, at time.Time, body []byte) string {
	var b strings.Builder
	for i, key := range s.keys {
		if i > 0 {
			b.WriteByte(' ')
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		b.WriteString("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return b.String()
}
