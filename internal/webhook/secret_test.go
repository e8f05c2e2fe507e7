package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// The vector of the specification's own libraries.
func TestSignKnownVector(t *testing.T) {
	t.Parallel()
	secret, err := ParseSecret(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	got := secret.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseSecret(t *testing.T) {
	t.Parallel()
	b64 := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for name, c := range map[string]struct {
		in   string
		keys int
	}{
		"one":                     {testSecret, 1},
		"with the file's newline": {testSecret + "\n", 1},
		"two during a rotation":   {testSecret + " " + otherSecret, 2},
		"longest":                 {b64(64), 1},
		"empty":                   {"", 0},
		"white space":             {" \n", 0},
		"no prefix":               {"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 0},
		"other prefix":            {"whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 0},
		"not base64":              {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!", 0},
		"no padding":              {strings.TrimRight(otherSecret, "="), 0},
		"too short":               {b64(23), 0},
		"too long":                {b64(65), 0},
		"good, then bad":          {testSecret + " whsec_x", 0},
		"too many":                {strings.Repeat(testSecret+" ", 5), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseSecret(c.in)
			if len(got.keys) != c.keys || (err == nil) != (c.keys > 0) {
				t.Fatalf("%d keys, %v; want %d", len(got.keys), err, c.keys)
			}
			if err != nil && !errors.Is(err, ErrSecret) {
				t.Errorf("%v is no ErrSecret", err)
			}
		})
	}
}

func FuzzSecret(f *testing.F) {
	for _, seed := range []string{"", testSecret, testSecret + "\n" + otherSecret, "whsec_", "whsec_====", "whsec_\r\nAAAA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		secret, err := ParseSecret(in)
		if err != nil {
			for field := range strings.FieldsSeq(in) {
				if len(field) > 20 && strings.Contains(err.Error(), field) {
					t.Errorf("the error holds the secret: %v", err)
				}
			}
			return
		}
		var again []string
		for _, key := range secret.keys {
			if len(key) < minKey || len(key) > maxKey {
				t.Errorf("a key of %d bytes", len(key))
			}
			again = append(again, secretPrefix+base64.StdEncoding.EncodeToString(key))
		}
		if got, want := strings.Join(again, " "), strings.Join(strings.Fields(in), " "); got != want {
			t.Errorf("read %q as %q", want, got)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s", secret, secret, secret, secret); shown != "[secret] [secret] [secret] [secret]" {
			t.Errorf("it shows itself: %s", shown)
		}
		if got := strings.Count(secret.Sign("a", time.Unix(0, 0), nil), "v1,"); got != len(secret.keys) {
			t.Errorf("%d signatures for %d keys", got, len(secret.keys))
		}
	})
}
