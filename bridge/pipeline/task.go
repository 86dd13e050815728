package pipeline

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Task is one long-running part. Run blocks until ctx is done and returns nil then.
type Task struct {
	Name string // in errors
	Run  func(ctx context.Context) error
}

// RunTasks runs all tasks until ctx is done or one of them fails. It returns the
// first error, with the task's name.
func RunTasks(ctx context.Context, tasks ...Task) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		group.Go(func() error {
			if err := t.Run(ctx); err != nil {
				return fmt.Errorf("%s: %w", t.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}
