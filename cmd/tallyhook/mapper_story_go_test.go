//go:build !race

package main

import "testing"

// TestMapperStoryInGo plays the story of a mapper in Go. The race detector slows
// the compiler of its two megabytes beyond what admission lets it take.
func TestMapperStoryInGo(t *testing.T) { playMapperStories(t, "testdata/mapper_go", nil) }
