package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	// File is the file, or the environment variable, at fault.
	File string
	// Line and Column count from 1, columns in characters. Line is 0 when
	// the file could not be read at all.
	Line, Column int
	// Message says what is wrong and what to write instead, in one line.
	Message string
}

// Error returns FILE:LINE:COLUMN: MESSAGE.
func (f Fault) Error() string {
	if f.Line == 0 {
		return f.File + ": " + f.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
}

// Faults is everything that is wrong with a configuration, never empty, in
// the order of the file; those of environment variables stand last.
type Faults []Fault

// Error returns one fault a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single faults to [errors.As].
func (fs Faults) Unwrap() []error {
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errs
}

// sorted returns fs in reading order, file before everything else.
func (fs Faults) sorted(file string) Faults {
	rank := func(f Fault) int {
		if f.File == file {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	return fs
}
