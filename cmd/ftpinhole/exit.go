package main

import (
	"errors"
	"io/fs"

	"ftpinhole/cmd/internal/control"
)

// The exit codes; scripts rely on them.
const (
	exitOK           = 0
	exitFailed       = 1 // at run time
	exitUsage        = 2
	exitConfig       = 3
	exitNotPermitted = 4
	exitKernel       = 5 // a kernel feature is missing
	exitNoDaemon     = 6
)

// exitError is an error that ends the process with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

// exitCode is the code for an error: its own, or that of its cause.
func exitCode(err error) int {
	var e exitError
	switch {
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, control.ErrNoDaemon):
		return exitNoDaemon
	case errors.Is(err, control.ErrNotPermitted), errors.Is(err, fs.ErrPermission): // EPERM and EACCES
		return exitNotPermitted
	}
	return exitFailed
}
