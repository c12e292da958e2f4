//go:build race

package journal

const seedsDefault = 60
