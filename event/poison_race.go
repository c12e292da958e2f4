//go:build race

package event

// poison makes Batch.Reset overwrite the arena, so that under the race
// detector a view that outlived its batch shows at once.
const poison = true
