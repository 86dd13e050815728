//go:build !race

package scrape

// raceEnabled: memory and allocations are what they are.
const raceEnabled = false
