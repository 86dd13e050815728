package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/promscope/promscope/bridge/ruletest"
)

// errTestsFailed is the summary of tests whose findings are printed already.
var errTestsFailed = errors.New("tests failed")

// testProgress is how often a long test run says that it is still at it.
const testProgress = 5 * time.Second

func declareTest(app *kingpin.Application) (string, command) {
	cmd := app.Command("test", "Run unit tests of rules: given these series or expositions, these are the metrics of the nodes. As promtool test rules does.")
	files := cmd.Arg("file", "Test files.").Required().Strings()

	return cmd.FullCommand(), func(ctx context.Context, env *environment) error {
		failed := false
		for _, file := range *files {
			fmt.Fprintf(env.stdout, "Unit Testing:  %s\n", file)
			report, err := runTests(ctx, env, file)
			if err != nil {
				return err
			}
			if report.Problems.Err() == nil {
				fmt.Fprintf(env.stdout, "  SUCCESS: %s\n", summary(report))
				continue
			}
			failed = true
			fmt.Fprintf(env.stdout, "  FAILED: %s\n", summary(report))
			for _, d := range report.Problems.Sorted() {
				fmt.Fprintf(env.stdout, "    %s\n", strings.ReplaceAll(d.Error(), "\n", "\n    "))
			}
		}
		if failed {
			return errTestsFailed
		}
		return nil
	}
}

// runTests runs the tests of a file, and says now and then that it does.
func runTests(ctx context.Context, env *environment, file string) (ruletest.Report, error) {
	done := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		start := time.Now()
		ticker := time.NewTicker(testProgress)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				fmt.Fprintf(env.stderr, "promscope: testing %s for %s\n", file, time.Since(start).Round(time.Second))
			}
		}
	}()
	report, err := ruletest.Run(ctx, file)
	close(done)
	<-told
	return report, err
}

// summary is how many tests there were, and which rules none of them looked at.
func summary(r ruletest.Report) string {
	if r.Tests == 0 && r.Problems.Err() != nil {
		return "the tests could not be run"
	}
	text := fmt.Sprintf("%d tests", r.Tests)
	if r.Tests == 1 {
		text = "1 test"
	}
	if r.Failed > 0 {
		text += fmt.Sprintf(", %d failed", r.Failed)
	}
	var untested []string
	for _, rule := range r.Rules {
		if r.Expected[rule.String()] == 0 {
			untested = append(untested, rule.String())
		}
	}
	if len(untested) > 0 {
		text += "; nothing expected of " + strings.Join(untested, ", ")
	}
	return text
}
