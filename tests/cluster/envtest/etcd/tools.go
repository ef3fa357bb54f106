//go:build tools

// Package tools pins etcd, whose main package is built from the module cache and has no source here.
package tools

import _ "go.etcd.io/etcd/server/v3"
