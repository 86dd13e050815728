package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/promscope/promscope/bridge/doctor"
	"github.com/promscope/promscope/bridge/pipeline"
)

// errDoctorFailed is the summary of findings that are printed already.
var errDoctorFailed = errors.New("something is in the way; see above")

func declareDoctor(app *kingpin.Application) (string, command) {
	cmd := app.Command("doctor", "Look at what this machine allows, and say what helps where something is in the way. Exits with 1 if promscope cannot do its job; warnings alone are 0.")
	asJSON := cmd.Flag("json", "Print JSON.").Bool()

	return cmd.FullCommand(), func(ctx context.Context, env *environment) error {
		var progress pipeline.Progress = func(elapsed, total time.Duration) {
			fmt.Fprintf(env.stderr, "promscope: looking for exporters, %s of at most %s\n", elapsed.Round(time.Second), total)
		}
		diagnosis, err := doctor.Diagnose(ctx, env.options.Flags, progress)
		if err != nil {
			return err
		}
		if *asJSON {
			err = writeJSON(env, diagnosis)
		} else {
			err = diagnosis.WriteText(env.stdout)
		}
		if err == nil && !diagnosis.OK() {
			err = errDoctorFailed
		}
		return err
	}
}
