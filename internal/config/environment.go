package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSecret bounds a file with a secret. Tokens have some hundred bytes.
const maxSecret = 64 << 10

// environment applies the variables that fields name in their env tag, which
// win over the file, and fills every [Secret] below v.
func (d *document) environment(v reflect.Value, path string) {
	all := fields(v.Type())
	for _, f := range all {
		fv := v.Field(f.index)
		if fv.Kind() == reflect.Pointer {
			fv = fv.Elem()
		}
		name, hasName := f.tag.Lookup("env")
		switch {
		case !fv.IsValid():
		case section(fv.Type()):
			d.environment(fv, join(path, f.key))
		case fv.Kind() == reflect.Slice && section(fv.Type().Elem()):
			for i := range fv.Len() {
				d.environment(fv.Index(i), fmt.Sprintf("%s[%d]", join(path, f.key), i))
			}
		case fv.Type() == secretType:
			file := ""
			for _, other := range all {
				if other.key == f.tag.Get("file") {
					file = v.Field(other.index).String()
				}
			}
			fv.Set(reflect.ValueOf(d.secret(name, join(path, f.tag.Get("file")), file)))
		case hasName:
			d.listVariable(name, f, fv)
		}
	}
}

// listVariable replaces the list v with the comma-separated one in a variable.
func (d *document) listVariable(name string, f field, v reflect.Value) {
	text := d.getenv(name)
	if text == "" {
		return
	}
	items := reflect.MakeSlice(v.Type(), 0, 1)
	seen := make(map[string]bool)
	column := 1
	for part := range strings.SplitSeq(text, ",") {
		item := reflect.New(v.Type().Elem()).Elem()
		word := strings.TrimSpace(part)
		err := f.set(item, word)
		if err == nil && seen[word] {
			err = fmt.Errorf("%q is listed twice; delete one of the two", word)
		}
		if err != nil {
			blanks := utf8.RuneCountInString(part) - utf8.RuneCountInString(strings.TrimLeftFunc(part, unicode.IsSpace))
			d.faults = append(d.faults, Fault{File: name, Line: 1, Column: column + blanks, Message: err.Error()})
		}
		seen[word] = true
		items = reflect.Append(items, item)
		column += utf8.RuneCountInString(part) + 1
	}
	v.Set(items)
}

// variable is the value of an environment variable; none has an empty name.
func (d *document) variable(name string) string {
	if name == "" {
		return ""
	}
	return d.getenv(name)
}

// secret returns the secret in the variable name, else that in file, the value
// of the key at path. No message repeats the file name: it may be the secret
// itself, written into the wrong key.
func (d *document) secret(name, path, file string) Secret {
	if text := d.variable(name); text != "" {
		text = trimNewline(text)
		if problem := malformed(text); problem != "" {
			d.faults = append(d.faults, Fault{File: name, Line: 1, Column: 1, Message: problem + "; set the secret alone"})
		}
		return NewSecret(text)
	}
	if file == "" {
		return Secret{}
	}
	n := d.nodes[path]
	if !strings.Contains(file, "/") {
		dir := d.getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			d.at(n, "%s: a name without a slash is looked up in $CREDENTIALS_DIRECTORY, which is not set; write a path with a slash, or start the edge with a systemd credential of that name", path)
			return Secret{}
		}
		file = filepath.Join(dir, file)
	}
	text, problem := readSecret(file)
	if problem != "" {
		d.at(n, "%s: %s; name a file that holds the secret alone", path, problem)
		return Secret{}
	}
	return NewSecret(text)
}

// readSecret returns the content of a file without its last line end. Only
// regular files are opened: a pipe would block the start for ever.
func readSecret(path string) (text, problem string) {
	switch info, err := os.Stat(path); {
	case err != nil:
		return "", "the file cannot be read (" + reason(err) + ")"
	case info.IsDir():
		return "", "this is a directory"
	case !info.Mode().IsRegular():
		return "", "this is not a regular file"
	}
	data, err := readFile(path, maxSecret)
	switch {
	case err != nil:
		return "", "the file cannot be read (" + reason(err) + ")"
	case len(data) > maxSecret:
		return "", fmt.Sprintf("the file is larger than %d KiB", maxSecret>>10)
	}
	text = trimNewline(string(data))
	return text, malformed(text)
}

func trimNewline(s string) string {
	return strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
}

// malformed tells why s cannot be a secret. Every one ends up in a header or
// a form field, where neither a line end nor outer blanks survive.
func malformed(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return "the secret is empty"
	case strings.ContainsAny(s, "\r\n\x00"):
		return "the secret has more than one line"
	case strings.TrimSpace(s) != s:
		return "the secret begins or ends with a blank"
	}
	return ""
}
