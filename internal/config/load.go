package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"unicode/utf8"
)

// maxSize bounds a configuration file. Real ones have a few KiB; the parser
// needs about 3 s for the worst 1 MiB.
const maxSize = 1 << 20

// defaultPaths are tried in this order when no file is named.
var defaultPaths = []string{"edge.yaml", "/etc/edge/edge.yaml"}

// Load reads the file at path, the environment through getenv, applies the
// defaults and validates. With an empty path it reads edge.yaml in the working
// directory, else /etc/edge/edge.yaml; when neither exists and the environment
// names the domains, the defaults serve. Any error is of type [Faults].
func Load(path string, getenv func(string) string) (*Config, error) {
	if path != "" {
		return loadFile(path, getenv)
	}
	for _, p := range defaultPaths {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			return loadFile(p, getenv)
		}
	}
	if getenv("EDGE_DOMAINS") == "" {
		return nil, Faults{{
			File:    defaultPaths[0],
			Message: fmt.Sprintf("neither this file nor %s exists; write one of them, name another with --config, or set EDGE_DOMAINS", defaultPaths[1]),
		}}
	}
	return Parse(defaultPaths[0], nil, getenv)
}

func loadFile(path string, getenv func(string) string) (*Config, error) {
	data, err := readFile(path, maxSize)
	if err != nil {
		return nil, Faults{{File: path, Message: reason(err) + "; name a readable YAML file"}}
	}
	return Parse(path, data, getenv)
}

// Parse is [Load] for the content of a file; name stands for the file in
// messages.
func Parse(name string, data []byte, getenv func(string) string) (*Config, error) {
	if f, ok := unreadable(name, data); ok {
		return nil, Faults{f}
	}
	d := document{file: name, getenv: getenv}
	c := Default()
	if d.parse(data) {
		v := reflect.ValueOf(&c).Elem()
		d.decode(v)
		d.deployment(&c)
		d.environment(v, "")
		d.validate(&c)
	}
	if len(d.faults) > 0 {
		return nil, d.faults.sorted(name)
	}
	return &c, nil
}

// readFile returns at most limit+1 bytes of the file at path.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// reason is why a file could not be read, without its path: the caller knows
// whether that may be shown.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// unreadable tells what keeps data from being YAML text at all.
func unreadable(name string, data []byte) (Fault, bool) {
	if len(data) > maxSize {
		return Fault{File: name, Line: 1, Column: 1, Message: "the file is larger than 1 MiB; a configuration has a few KiB, so this must be another file"}, true
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		problem := ""
		switch {
		case r == utf8.RuneError && size == 1:
			problem = "this byte is not UTF-8; save the file as UTF-8"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f, r == 0xfffe, r == 0xffff:
			problem = fmt.Sprintf("the character %U is not allowed; delete it", r)
		}
		if problem != "" {
			lineStart := bytes.LastIndexByte(data[:i], '\n') + 1
			return Fault{
				File:    name,
				Line:    bytes.Count(data[:i], []byte{'\n'}) + 1,
				Column:  utf8.RuneCount(data[lineStart:i]) + 1,
				Message: problem,
			}, true
		}
		i += size
	}
	return Fault{}, false
}
