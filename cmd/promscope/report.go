package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"

	"github.com/promscope/promscope/bridge"
	"github.com/promscope/promscope/bridge/pipeline"
)

func declareReport(app *kingpin.Application) (string, command) {
	cmd := app.Command("report", "Do what run does for a few intervals, without a socket, then print one report as JSON and exit. A target that is down is a warning on standard error; the exit code is 0 all the same.")
	duration := cmd.Flag("duration", "For how long to collect (default: until each target was scraped three times, at most a minute).").
		PlaceHolder("DURATION").Duration()
	pretty := cmd.Flag("pretty", "Indent the JSON.").Bool()

	return cmd.FullCommand(), func(ctx context.Context, env *environment) error {
		var progress pipeline.Progress = func(elapsed, total time.Duration) {
			fmt.Fprintf(env.stderr, "promscope: collecting, %s of %s\n", elapsed.Round(time.Second), total)
		}
		report, err := bridge.Report(ctx, env.options.Flags, *duration, progress, promslog.New(&env.logging))
		if err != nil {
			return err
		}
		if *pretty {
			var indented any
			if err := json.Unmarshal(report, &indented); err != nil {
				return err
			}
			if report, err = json.MarshalIndent(indented, "", "  "); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(env.stdout, "%s\n", report)
		return err
	}
}
