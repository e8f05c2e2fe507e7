package docker

import (
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// DefaultMark is the mark where [Config] names none.
const DefaultMark = "cmux-edge"

// Config says which Engine to use and how. Its zero value reaches the Engine
// that the docker command would, and makes nothing for want of an image.
type Config struct {
	// Host is the Engine's address, "unix:///var/run/docker.sock" or
	// "tcp://host:2376"; empty is DOCKER_HOST, else the platform's socket. TLS
	// follows DOCKER_CERT_PATH and DOCKER_TLS_VERIFY.
	Host string
	// Images names the image for each preset; "default" is the preset of a
	// request without one.
	Images map[string]string
	// Network is the one that containers join and on which their address
	// lies; empty is the Engine's default.
	Network string
	// Publish are ports to publish on a free port of 127.0.0.1 each, for where
	// a container's address can't be reached (Docker Desktop).
	Publish []uint16
	// Mark is the label value that says "made by the edge", and the beginning
	// of each container's name; empty is [DefaultMark].
	Mark string
	// StopGrace is how long a container's processes have to end; 0 is 10 s.
	StopGrace time.Duration
	// CreateLimit bounds a create that nobody waits for any more; 0 is one
	// minute.
	CreateLimit time.Duration
}

func (c Config) withDefaults() Config {
	if c.Mark == "" {
		c.Mark = DefaultMark
	}
	if c.StopGrace <= 0 {
		c.StopGrace = 10 * time.Second
	}
	if c.CreateLimit <= 0 {
		c.CreateLimit = time.Minute
	}
	return c
}

// image is the preset's.
func (c Config) image(preset string) (string, error) {
	if preset == "" {
		preset = "default"
	}
	if image := c.Images[preset]; image != "" {
		return image, nil
	}
	return "", &failure{kind: sandbox.KindInvalid, text: "providers.docker.images names no image for the preset " + preset}
}
