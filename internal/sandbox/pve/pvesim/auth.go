package pvesim

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// authenticate checks the token. A wrong one is answered late and without a
// body.
func (s *Server) authenticate(r *http.Request) error {
	text := "No ticket"
	if sent, ok := strings.CutPrefix(r.Header.Get("Authorization"), "PVEAPIToken="); ok {
		sent, _, _ = strings.Cut(sent, ";")
		plain, err := url.PathUnescape(sent)
		if err == nil && subtle.ConstantTimeCompare([]byte(plain), []byte(s.cfg.Token)) == 1 {
			return nil
		}
		text = "Authentication failed!"
		if s.cfg.OldErrors {
			text = "invalid token value!"
		}
	}
	if s.cfg.AuthDelay > 0 {
		if err := s.cfg.Sleep(r.Context(), s.cfg.AuthDelay); err != nil {
			return err
		}
	}
	return &failure{status: http.StatusUnauthorized, reason: text, empty: true}
}

// tokenParts splits the accepted token's name into user and token id.
func (s *Server) tokenParts() (full, user, id string) {
	full, _, _ = strings.Cut(s.cfg.Token, "=")
	user, id, _ = strings.Cut(full, "!")
	return full, user, id
}

// permit evaluates the endpoint's permission expression.
func (s *Server) permit(e *Endpoint, p params) error {
	if s.cfg.Privileges == nil || len(e.Perm.Expr) == 0 {
		return nil
	}
	expr := e.Perm.Expr
	if s.major < 9 && len(e.Delta.Perm8) > 0 {
		expr = e.Delta.Perm8
	}
	return s.eval(expr, p)
}

func (s *Server) eval(raw json.RawMessage, p params) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil || len(parts) == 0 {
		return die("permission expression %s", raw)
	}
	switch op := text(parts[0]); op {
	case "and":
		for _, part := range parts[1:] {
			if err := s.eval(part, p); err != nil {
				return err
			}
		}
		return nil
	case "or":
		var first error
		for _, part := range parts[1:] {
			err := s.eval(part, p)
			if err == nil {
				return nil
			}
			if first == nil {
				first = err
			}
		}
		return first
	default:
		return s.evalPerm(parts, p)
	}
}

// evalPerm evaluates ["perm", path, [privileges], "any", 1, "require_param", name].
func (s *Server) evalPerm(parts []json.RawMessage, p params) error {
	if len(parts) < 3 {
		return die("permission expression is too short")
	}
	path := text(parts[1])
	for name, v := range p {
		path = strings.ReplaceAll(path, "{"+name+"}", v)
	}
	var privileges []string
	if err := json.Unmarshal(parts[2], &privileges); err != nil {
		return die("permission expression: %v", err)
	}
	any := false
	for i := 3; i+1 < len(parts); i += 2 {
		switch text(parts[i]) {
		case "any":
			any = true
		case "require_param":
			if _, ok := p[text(parts[i+1])]; !ok {
				return forbidden(path, privileges, "|")
			}
		}
	}
	if any {
		if slices.ContainsFunc(privileges, func(priv string) bool { return s.may(path, priv) }) {
			return nil
		}
		return forbidden(path, privileges, "|")
	}
	for _, priv := range privileges {
		if !s.may(path, priv) {
			return forbidden(path, privileges, ", ")
		}
	}
	return nil
}

// need is a check that a handler makes beyond its endpoint's expression.
func (s *Server) need(path, privilege string) error {
	if s.may(path, privilege) {
		return nil
	}
	return forbidden(path, []string{privilege}, "|")
}

func forbidden(path string, privileges []string, sep string) error {
	return fail(http.StatusForbidden, "Permission check failed (%s, %s)", path, strings.Join(privileges, sep))
}

// may tells whether the token has a privilege on a path.
func (s *Server) may(path, privilege string) bool {
	if s.cfg.Privileges == nil || slices.Contains(s.inherited(path), privilege) {
		return true
	}
	rest, ok := strings.CutPrefix(path, "/vms/")
	if !ok {
		return false
	}
	s.mu.Lock()
	g := s.guests[(params{"vmid": rest}).num("vmid")]
	pool := ""
	if g != nil {
		pool = g.pool
	}
	s.mu.Unlock()
	return pool != "" && slices.Contains(s.inherited("/pool/"+pool), privilege)
}

func (s *Server) inherited(path string) []string {
	for {
		if list, ok := s.cfg.Privileges[path]; ok {
			return list
		}
		cutAt := strings.LastIndexByte(path, '/')
		switch {
		case path == "/" || cutAt < 0:
			return nil
		case cutAt == 0:
			path = "/"
		default:
			path = path[:cutAt]
		}
	}
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
