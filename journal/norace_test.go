//go:build !race

package journal

const seedsDefault = 1000
