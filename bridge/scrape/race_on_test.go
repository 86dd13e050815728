//go:build race

package scrape

// raceEnabled: memory and allocations are not what they are without.
const raceEnabled = true
