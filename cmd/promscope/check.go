package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/exposition"
)

// errCheckFailed is the summary of a check whose findings are printed already.
var errCheckFailed = errors.New("check failed")

func declareCheck(app *kingpin.Application) (string, command) {
	cmd := app.Command("check", "Check configuration files, all errors at once, and exit with 0 if they can be used.")
	expositions := cmd.Flag("exposition", "File with what a target answers, as curl writes it. Its # TYPE lines say what is a counter. May be repeated.").PlaceHolder("FILE").Strings()
	files := cmd.Arg("file", "Configuration files (default: that of --config.file).").Strings()

	return cmd.FullCommand(), func(_ context.Context, env *environment) error {
		if len(*files) == 0 && env.options.File != "" {
			*files = []string{env.options.File}
		}
		if len(*files) == 0 {
			return errors.New("name the configuration files to check")
		}
		types, err := readTypes(*expositions)
		if err != nil {
			return err
		}
		failed := false
		for _, file := range *files {
			cfg, diagnostics := config.LoadTyped(file, types)
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

// readTypes reads the types of metrics out of expositions. Where these differ, a counter is
// one.
func readTypes(files []string) (func(metric string) model.MetricType, error) {
	types := map[string]model.MetricType{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		found, err := exposition.Types(content)
		if err != nil {
			return nil, fmt.Errorf("%s is no exposition: %w", file, err)
		}
		for metric, kind := range found {
			if types[metric] != model.MetricTypeCounter {
				types[metric] = kind
			}
		}
	}
	return func(metric string) model.MetricType { return types[metric] }, nil
}
