//go:build race

package signature

// raceEnabled: sync.Pool drops entries on purpose under the race detector.
const raceEnabled = true
