// Package docker is the provider for development: containers of a Docker
// Engine as sandboxes, through the Engine's official client.
//
// A pause freezes the container, with its RAM where it is; a stop keeps its
// disk. Containers are known by labels, one of which is the request's key, and
// named after their sandbox, so that the Engine itself refuses a second one.
// Only containers with the edge's mark exist to this package.
//
// Images are not pulled: a start must not take minutes because of a typing
// error. The Engine has no time to live either; whoever asks for one keeps it.
package docker
