package resolve_test

import (
	"errors"
	"fmt"

	"cmux.sh/edge/internal/resolve"
)

func ExampleGrammar_Parse() {
	g := resolve.NewGrammar([]string{"cmux.sh", "cmux.app"}, false)
	for _, host := range []string{
		"port-39378-demo.cmux.sh",
		"cmux-pvelxc-ab12-feature-8080.cmux.app:8443",
		"CMUX.sh.",
		"port-0-demo.cmux.sh",
		"port-80-demo.cmux.sh.evil.com",
	} {
		r, err := g.Parse(host)
		var refused *resolve.HostError
		switch {
		case errors.As(err, &refused):
			fmt.Printf("%s (foreign: %v)\n", refused, refused.Foreign())
		case r.Form == resolve.Apex:
			fmt.Println(r.Form, r.Host)
		default:
			fmt.Printf("%s: port %d of %s, scope %q\n", r.Form, r.Port, r.Slug, r.Scope)
		}
	}
	// Output:
	// port: port 39378 of demo, scope ""
	// proxy: port 8080 of pvelxc-ab12, scope "feature"
	// apex cmux.sh
	// Invalid port in subdomain (foreign: false)
	// Not a cmux domain (foreign: true)
}
