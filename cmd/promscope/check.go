package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/alecthomas/kingpin/v2"

	"github.com/promscope/promscope/bridge/config"
)

// errCheckFailed is the summary of a check whose findings are printed already.
var errCheckFailed = errors.New("check failed")

func declareCheck(app *kingpin.Application) (string, command) {
	cmd := app.Command("check", "Check configuration files, all errors at once, and exit with 0 if they can be used.")
	files := cmd.Arg("file", "Configuration files.").Required().Strings()

	return cmd.FullCommand(), func(_ context.Context, env *environment) error {
		failed := false
		for _, file := range *files {
			cfg, diagnostics := config.Load(file)
			for _, d := range diagnostics {
				fmt.Fprintln(env.stderr, d)
			}
			if diagnostics.Err() != nil {
				failed = true
				continue
			}
			fmt.Fprintf(env.stdout, "%s: ok: %d scrape jobs, %d rules\n", file, len(cfg.Jobs), len(cfg.Rules.Rules()))
		}
		if failed {
			return errCheckFailed
		}
		return nil
	}
}
