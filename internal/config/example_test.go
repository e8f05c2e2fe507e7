package config_test

import (
	"errors"
	"fmt"

	"cmux.sh/edge/internal/config"
)

func Example() {
	const file = `
domains: [cmux.sh]
listen: {http: ":8080"}
`
	environment := func(string) string { return "" } // os.Getenv in a program
	c, err := config.Parse("edge.yaml", []byte(file), environment)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Domains, c.Listen.HTTP, c.Upstream.DialTimeout)
	// Output: [cmux.sh] :8080 2s
}

// Every fault is reported at once, in the order of the file.
func ExampleFaults() {
	const file = `
domains: [cmux.sh]
listen: {htpp: ":8080"}
upstream: {dial_timeout: 5}
`
	_, err := config.Parse("edge.yaml", []byte(file), func(string) string { return "" })
	if faults, ok := errors.AsType[config.Faults](err); ok {
		fmt.Println(len(faults), "faults")
	}
	fmt.Println(err)
	// Output:
	// 2 faults
	// edge.yaml:3:10: unknown key "htpp" in listen; did you mean "http"?
	// edge.yaml:4:26: upstream.dial_timeout is a number without a unit; write "5s"
}
