package reply

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
)

// pagePolicy lets a page use its own style element and its empty icon, which
// keeps browsers from asking the sandbox for one, and nothing else. The edge
// is framed by dashboards, so frame-ancestors is left open: a problem page has
// no button worth hijacking.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

//go:embed pages/problem.html
var problemHTML string

var problemPage = template.Must(template.New("problem").Parse(problemHTML))

func (p Problem) page(body *bytes.Buffer, id string) error {
	return problemPage.Execute(body, struct {
		Problem
		Phrase    string
		RequestID string
	}{p, http.StatusText(p.Status), id})
}
