package pve

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
)

// maxAnswer bounds an answer. A cluster of ten thousand guests lists itself in
// about 5 MB.
const maxAnswer = 32 << 20

// gate is the transport below go-proxmox. It reads every answer itself and
// lets only good ones through: the library loses the text of a 401 or 403,
// takes a 595 with an empty body for success where no result is asked for, and
// reads no reason phrase of other errors. A transport may not interpret
// answers for just any client; this one has a single client.
type gate struct {
	next      http.RoundTripper
	authorize func(http.Header)
}

// RoundTrip sends a request. Its error is always a [*Failure].
func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	g.authorize(req.Header)
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		op, ok := errors.AsType[*net.OpError](err)
		return nil, &Failure{Text: err.Error(), Lost: !ok || op.Op != "dial"}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	_ = resp.Body.Close() // all that matters was read
	if err != nil {
		return nil, &Failure{Text: "the answer breaks off: " + err.Error(), Lost: true}
	}
	if resp.StatusCode >= 400 {
		return nil, refusal(resp, body)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, garbage("status " + resp.Status)
	}
	var envelope map[string]json.RawMessage
	if err := json.Unmarshal(body, &envelope); err != nil {
		return nil, garbage(err.Error())
	}
	if _, ok := envelope["data"]; !ok {
		return nil, garbage("no data in it")
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// refusal reads an answer of 400 or more. The text is in the status line; the
// body repeats it only since 8.4, and is empty for failures between nodes.
func refusal(resp *http.Response, body []byte) *Failure {
	_, text, _ := strings.Cut(resp.Status, " ")
	var said struct {
		Message string            `json:"message"`
		Errors  map[string]string `json:"errors"`
	}
	if json.Unmarshal(body, &said) == nil && text == "" {
		text, _, _ = strings.Cut(said.Message, "\n")
	}
	f := &Failure{Status: resp.StatusCode, Text: strings.TrimSpace(text), Params: said.Errors}
	// 595 is a connection that did not come about. After 596 and the like the
	// request may have been carried out.
	f.Lost = f.Status > 595 || f.Status == http.StatusBadGateway || f.Status == http.StatusGatewayTimeout
	return f
}
