//go:build !race

package event

const poison = false
