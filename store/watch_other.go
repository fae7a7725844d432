//go:build !linux

package store

import "errors"

// watch is for Linux only; elsewhere the writer asks SQLite again and again.
type watch struct{ changed chan struct{} }

func newWatch(string) (*watch, error) { return nil, errors.ErrUnsupported }

func (*watch) close() error { return nil }
