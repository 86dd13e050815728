package bridge

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// task is one long-running part. Run blocks until ctx is done and returns nil
// then; String names it in errors.
type task interface {
	Run(ctx context.Context) error
	String() string
}

// named makes a task of a function.
type named struct {
	name string
	run  func(ctx context.Context) error
}

func (n named) Run(ctx context.Context) error { return n.run(ctx) }
func (n named) String() string                { return n.name }

// runTasks runs all tasks until ctx is done or one of them fails, and returns
// the first error with the task's name.
func runTasks(ctx context.Context, tasks []task) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		group.Go(func() error {
			if err := t.Run(ctx); err != nil {
				return fmt.Errorf("%s: %w", t, err)
			}
			return nil
		})
	}
	return group.Wait()
}
