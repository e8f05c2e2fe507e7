package reply

import (
	"strconv"
	"strings"
)

// form is one of the three ways to say the same thing.
type form uint8

const (
	formText form = iota
	formJSON
	formPage
)

// negotiate picks a form by Accept (RFC 9110 section 12.5.1). Only a type that
// the client names counts: */* and no Accept at all are what command line
// tools send, and they get plain text. At equal weight a page comes first,
// since browsers name text/html and then everything.
func negotiate(accept []string) form {
	best, weight := formText, 0.0
	for _, line := range accept {
		for entry := range strings.SplitSeq(line, ",") {
			mediaType, params, _ := strings.Cut(entry, ";")
			f, known := formOf(strings.ToLower(strings.TrimSpace(mediaType)))
			if !known {
				continue
			}
			q := quality(params)
			if q > weight || q == weight && q > 0 && f > best {
				best, weight = f, q
			}
		}
	}
	return best
}

func formOf(mediaType string) (f form, known bool) {
	switch mediaType {
	case "text/html", "application/xhtml+xml":
		return formPage, true
	case "application/problem+json", "application/json":
		return formJSON, true
	case "text/plain":
		return formText, true
	}
	return formText, false
}

// quality reads the q parameter; one that can't be read counts as absent.
func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			if q, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && q >= 0 && q <= 1 {
				return q
			}
		}
	}
	return 1
}
