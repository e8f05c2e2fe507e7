// Package config reads the edge's configuration: one YAML file and a few
// environment variables become one validated [Config], or all their faults.
//
// It is the only package that knows the names of keys and variables; the
// others get plain values. A key is one struct field in config.go: its tags
// name it and give its default and limits, its comment is its entry in the
// reference page. Decoder, defaults, reference and the test of the example
// file read nothing else. Rules that tie several keys together are methods of
// document, called by validate.
//
// # Faults
//
// The YAML is read strictly. What the edge does not understand it refuses,
// with the position of the key or value and what to write instead, and it
// reports everything at once: see [Faults]. Variables such as ${NAME} are not
// expanded. Secrets come from files or the environment, stay inside [Secret]
// and are in no message.
//
// # Concurrency
//
// Loading reads files and the environment once and keeps nothing. A [Config]
// must not be changed once it is shared.
package config

//go:generate go test . -run TestReference -update
