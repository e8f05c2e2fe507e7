package webhook

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestKey(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 8, 1, 23, 30, 0, 0, time.UTC)
	base := Message{Type: Paused, ID: "morphvm_a", Slug: "a", Provider: "morph", Generation: 7, Time: day}
	with := func(change func(*Message)) Message { m := base; change(&m); return m }
	use := with(func(m *Message) { m.Type = InUse })
	lost := with(func(m *Message) { m.Type, m.ID = Failed, "" })
	for name, c := range map[string]struct {
		a, b Message
		same bool
	}{
		"an event repeated later":      {base, with(func(m *Message) { m.Time, m.Reason = day.Add(time.Hour), "x" }), true},
		"another generation":           {base, with(func(m *Message) { m.Generation = 8 }), false},
		"another type":                 {base, with(func(m *Message) { m.Type = Resumed }), false},
		"another instance":             {base, with(func(m *Message) { m.ID = "morphvm_b" }), false},
		"a refresh of the same day":    {use, with(func(m *Message) { m.Type, m.Time = InUse, day.Add(-20*time.Hour) }), true},
		"a refresh of the next day":    {use, with(func(m *Message) { m.Type, m.Time = InUse, day.Add(time.Hour) }), false},
		"days are UTC's":               {use, with(func(m *Message) { m.Type, m.Time = InUse, day.In(time.FixedZone("", 3600)) }), true},
		"starts without an instance":   {lost, with(func(m *Message) { m.Type, m.ID, m.Slug = Failed, "", "b" }), false},
		"a start that fails once more": {lost, with(func(m *Message) { m.Type, m.ID, m.Time = Failed, "", day.Add(1) }), false},
	} {
		if got := c.a.Key() == c.b.Key(); got != c.same {
			t.Errorf("%s: same is %t", name, got)
		}
	}
	// Replicas of two versions must agree: this never changes.
	if got, want := base.Key(), "msg_3ef6f26954fa1d94bf5dd3baf99976b9"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBodyIsStandardWebhooks(t *testing.T) {
	t.Parallel()
	m := Message{Resumed, "morphvm_a", "a", "morph", 1754000000000001, time.Date(2026, 8, 1, 2, 0, 0, 5e6, time.FixedZone("", 7200)), "traffic"}
	got, err := m.Body()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"sandbox.resumed","timestamp":"2026-08-01T00:00:00.005Z","data":{"instance_id":"morphvm_a","slug":"a","provider":"morph","generation":1754000000000001,"reason":"traffic"}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestMessageSurvivesAQueueAsJSON(t *testing.T) {
	t.Parallel()
	m := msg(Failed, "a", 3)
	m.Reason = strings.Repeat("é", 400) + "\xff"
	m = m.normal(time.Now())
	if len(m.Reason) > maxReason || !utf8.ValidString(m.Reason) {
		t.Errorf("the reason has %d bytes", len(m.Reason))
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var again Message
	if err := json.Unmarshal(b, &again); err != nil || again != m {
		t.Errorf("got %+v, %v; want %+v", again, err, m)
	}
}
