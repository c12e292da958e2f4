//go:build !linux

package journal

import "testing"

func disks() map[string]func(t *testing.T) disk {
	return map[string]func(t *testing.T) disk{"quota": quotaDisk}
}
