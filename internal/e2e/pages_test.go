package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// What a person sees who comes to a sandbox that is not there, on a telephone
// and on a desk, by day and by night.
func TestErrorPagesFitEveryScreen(t *testing.T) {
	t.Parallel()
	e := startEdge(t)
	free := listen(t, 0)
	port := portOf(free)
	free.Close() // nothing answers there
	long := strings.Repeat("a-very-long-name-", 3) + "end"
	runClient(t, "pages.mjs",
		e.url(port, secureDomain), "502", fmt.Sprintf("Nothing answers on port %d of the sandbox", port),
		fmt.Sprintf("http://port-80-%s.%s:%d", long, secureDomain, e.port), "404", "There is no sandbox "+long,
		fmt.Sprintf("http://port-0-real.%s:%d", plainDomain, e.port), "400", "Invalid port in subdomain",
	)
}
