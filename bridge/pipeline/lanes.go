package pipeline

import (
	"slices"
	"sync"
	"time"
)

// patience is how long an evaluation may take before others stop waiting for it.
const patience = 100 * time.Millisecond

// lanes run evaluations, a few at a time and the cheapest of those that wait first.
// An evaluation that takes longer than patience gives its lane to the next one and
// goes on beside it, so that a slow rule holds nobody back.
type lanes struct {
	mu      sync.Mutex
	free    int
	waiting []evaluation // by cost
	running sync.WaitGroup
}

// evaluation is the work on one rule.
type evaluation struct {
	cost time.Duration // of the last time
	run  func()
}

func newLanes(n int) *lanes { return &lanes{free: n} }

// add has the evaluation run as soon as a lane is free. It does not block.
func (l *lanes) add(e evaluation) {
	l.running.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free > 0 {
		l.free--
		go l.run(e)
		return
	}
	// Behind those of the same cost, that came before.
	at, _ := slices.BinarySearchFunc(l.waiting, e.cost+1, func(w evaluation, cost time.Duration) int { return int(w.cost - cost) })
	l.waiting = slices.Insert(l.waiting, at, e)
}

func (l *lanes) run(e evaluation) {
	defer l.running.Done()
	leave := sync.OnceFunc(l.next)
	defer leave()
	defer time.AfterFunc(patience, leave).Stop()
	e.run()
}

// next gives a lane to the cheapest evaluation that waits.
func (l *lanes) next() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.free++
		return
	}
	e := l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	go l.run(e)
}

// wait blocks until nothing runs and nothing waits.
func (l *lanes) wait() { l.running.Wait() }
