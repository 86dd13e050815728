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
	files := cmd.Arg("file", "Configuration files (default: that of --config.file).").Strings()

	return cmd.FullCommand(), func(_ context.Context, env *environment) error {
		if len(*files) == 0 && env.options.File != "" {
			*files = []string{env.options.File}
		}
		if len(*files) == 0 {
			return errors.New("name the configuration files to check")
		}
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
			fmt.Fprintf(env.stdout, "%s: ok: %d scrape jobs, %d rules", file, len(cfg.Jobs), len(cfg.Rules.Rules()))
			if n := len(diagnostics.Warnings()); n > 0 {
				fmt.Fprintf(env.stdout, ", %d warnings", n)
			}
			fmt.Fprintln(env.stdout)
		}
		if failed {
			return errCheckFailed
		}
		return nil
	}
}
