package webhook

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// Type is what happened to a sandbox, in the words of the receiver.
type Type string

// Types of messages.
const (
	Started Type = "sandbox.started"
	Paused  Type = "sandbox.paused"
	Resumed Type = "sandbox.resumed"
	Stopped Type = "sandbox.stopped"
	Deleted Type = "sandbox.deleted"
	Failed  Type = "sandbox.failed"
	// InUse repeats that somebody uses the sandbox. It is a refresh: the first
	// to go when a queue is full.
	InUse Type = "sandbox.in_use"
)

func (t Type) valid() bool {
	switch t {
	case Started, Paused, Resumed, Stopped, Deleted, Failed, InUse:
		return true
	}
	return false
}

// Message is one thing that the control plane is told. Its JSON form is for
// queues that keep it; the receiver gets [Message.Body].
type Message struct {
	Type       Type      `json:"type"`
	ID         string    `json:"id,omitempty"` // the instance's; "" when a start failed before there was one
	Slug       string    `json:"slug,omitempty"`
	Provider   string    `json:"provider,omitempty"`
	Generation uint64    `json:"generation,omitempty"`
	Time       time.Time `json:"time"`             // when it happened; zero is when it was enqueued
	Reason     string    `json:"reason,omitempty"` // who or what caused it, in one sentence; no secrets
}

// Key identifies the event, for the receiver as webhook-id and for the queue: the
// same for the same type, instance and generation, and for a refresh the same day
// in UTC. What has no instance has no such identity; there the sandbox and the
// moment count as well.
func (m Message) Key() string {
	parts := []string{string(m.Type), m.ID}
	if m.ID == "" {
		parts = append(parts, m.Provider, m.Slug, m.Time.UTC().Format(time.RFC3339Nano))
	}
	if m.Type == InUse {
		parts = append(parts, m.Time.UTC().Format(time.DateOnly))
	}
	// Each part after its length: no two events are spelled the same.
	b := binary.BigEndian.AppendUint64(nil, m.Generation)
	for _, part := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	return "msg_" + hex.EncodeToString(sum[:16])
}

// Sandbox is what messages are kept in order by: the slug, else the instance.
func (m Message) Sandbox() string {
	if m.Slug != "" {
		return m.Slug
	}
	return m.Provider + "/" + m.ID // no slug has a slash
}

// Body is what the receiver gets. It is the same for each attempt.
func (m Message) Body() ([]byte, error) {
	type data struct {
		ID         string `json:"instance_id"`
		Slug       string `json:"slug"`
		Provider   string `json:"provider"`
		Generation uint64 `json:"generation"`
		Reason     string `json:"reason,omitempty"`
	}
	return json.Marshal(struct {
		Type string    `json:"type"`
		Time time.Time `json:"timestamp"`
		Data data      `json:"data"`
	}{string(m.Type), m.Time.UTC(), data{m.ID, m.Slug, m.Provider, m.Generation, m.Reason}})
}

// maxReason bounds what one message takes, in bytes.
const maxReason = 512

// normal is the message as it is kept: whole and bounded.
func (m Message) normal(now time.Time) Message {
	if m.Time.IsZero() {
		m.Time = now
	}
	// Without a monotonic clock and a zone it is the same after a queue.
	m.Time = m.Time.UTC().Round(0)
	if len(m.Reason) > maxReason {
		m.Reason = m.Reason[:maxReason]
	}
	m.Reason = strings.ToValidUTF8(m.Reason, "")
	return m
}
