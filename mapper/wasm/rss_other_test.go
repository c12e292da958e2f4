//go:build !linux

package wasm

import "testing"

// rssGrowth runs run; only Linux tells the peak of a process in a file.
func rssGrowth(_ *testing.T, run func()) int64 { run(); return 0 }
