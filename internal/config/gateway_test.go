package config

import (
	"testing"
)

func TestTheModelGatewayExampleIsValid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"anthropic-authorization", "openai-authorization"} {
		write(t, dir, name, "Bearer "+name+"\n")
	}
	c, err := Load("../../configs/model-gateway.yaml", environ("CREDENTIALS_DIRECTORY", dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range c.StaticRoutes {
		last := route.Upstreams[len(route.Upstreams)-1]
		if len(route.Upstreams) != 2 || last.Authorization.Reveal() == "" || last.Host == "" {
			t.Errorf("%s has the upstreams %+v", route.Host, route.Upstreams)
		}
	}
}
