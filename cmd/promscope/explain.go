package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/promscope/promscope/bridge/explain"
	"github.com/promscope/promscope/bridge/view"
)

// explainTimeout bounds the asking of a running promscope, which asks its targets.
const explainTimeout = 30 * time.Second

// errUnknownSubject is for the exit code: what is printed says more.
var errUnknownSubject = errors.New("nothing goes by that name")

func declareExplain(app *kingpin.Application) (string, command) {
	cmd := app.Command("explain", `Say why a metric shows up in Scope or does not: who serves it, which rules select it, which matcher of the others refuses it, on which nodes it ends up.

Asks the promscope that runs; with --exposition or --config.file it answers from files instead.`)
	subject := cmd.Arg("subject", "A metric, a selector like 'node_cpu_seconds_total{mode=\"iowait\"}', a rule (host/cpu_iowait, or its metric or label), a node (pid, container id, pod UID, host name), or a listener (host:port).").
		Required().String()
	var remote explain.Remote
	offline := explain.Offline{Labels: map[string]string{}}
	cmd.Flag("url", "Debug address of the promscope to ask.").Default("http://127.0.0.1:4041").StringVar(&remote.URL)
	cmd.Flag("http.config.file", "File that says how to authenticate there, as for promtool.").PlaceHolder("FILE").StringVar(&remote.HTTPConfigFile)
	cmd.Flag("exposition", "What a target serves, in a file. Each further one is the next scrape of the same target; rates need two.").
		PlaceHolder("FILE").StringsVar(&offline.Expositions)
	cmd.Flag("label", "A label of that target. job=NAME says which job of the configuration scrapes it (default: the only one), target_pid=PID which process of this host serves it.").
		PlaceHolder("NAME=VALUE").StringMapVar(&offline.Labels)
	asJSON := cmd.Flag("json", "Print JSON.").Bool()

	return cmd.FullCommand(), func(ctx context.Context, env *environment) error {
		ctx, cancel := context.WithTimeout(ctx, explainTimeout)
		defer cancel()
		var explanation view.Explanation
		var err error
		if len(offline.Expositions) > 0 || env.options.File != "" {
			explanation, err = explain.ReplayFiles(ctx, env.options.Flags, offline, *subject)
		} else {
			explanation, err = remote.Explain(ctx, *subject)
		}
		if err != nil {
			return err
		}
		if *asJSON {
			err = writeJSON(env, explanation)
		} else {
			err = explanation.WriteText(env.stdout, time.Now())
		}
		if err == nil && !explanation.Found() {
			err = fmt.Errorf("%s: %w", *subject, errUnknownSubject)
		}
		return err
	}
}

func writeJSON(env *environment, value any) error {
	encoder := json.NewEncoder(env.stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
