package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/explain"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
)

func declarePresets(app *kingpin.Application) (string, command) {
	cmd := app.Command("presets", "The rules that ship with promscope.")
	list := cmd.Command("list", "List the presets, what each shows, and whether the promscope that runs has series for it.").Default()
	var remote explain.Remote
	list.Flag("url", "Debug address of the promscope to ask.").Default("http://127.0.0.1:4041").StringVar(&remote.URL)
	list.Flag("http.config.file", "File that says how to authenticate there, as for promtool.").PlaceHolder("FILE").StringVar(&remote.HTTPConfigFile)
	return list.FullCommand(), func(ctx context.Context, env *environment) error {
		ctx, cancel := context.WithTimeout(ctx, explainTimeout)
		defer cancel()
		running, err := remote.Rules(ctx)
		if err != nil {
			fmt.Fprintf(env.stderr, "What has series here is not known: %v\n", err)
		}
		return listPresets(env, running, err == nil)
	}
}

// declareShowPreset comes after declarePresets.
func declareShowPreset(app *kingpin.Application) (string, command) {
	cmd := app.GetCommand("presets").Command("show", "Print a preset, to start a rule file from.")
	name := cmd.Arg("name", "The preset.").Required().String()
	return cmd.FullCommand(), func(_ context.Context, env *environment) error {
		source, ok := mapping.PresetSource(*name)
		if !ok {
			hint := "promscope presets lists them"
			if meant := document.Suggest(*name, mapping.Presets()); meant != "" {
				hint = "did you mean " + meant + "?"
			}
			return fmt.Errorf("there is no preset %q: %s", *name, hint)
		}
		_, err := env.stdout.Write(source)
		return err
	}
}

// listPresets prints a table. Where a promscope is known, it says what its rules have.
func listPresets(env *environment, running []view.Rule, known bool) error {
	w := tabwriter.NewWriter(env.stdout, 0, 8, 2, ' ', 0)
	head := "PRESET\tIN USE\tSHOWS\n"
	if known {
		head = "PRESET\tIN USE\tHERE\tSHOWS\n"
	}
	fmt.Fprint(w, head)
	for _, name := range mapping.Presets() {
		use := "when asked for"
		if slices.Contains(mapping.DefaultPresets(), name) {
			use = "by default"
		}
		here := ""
		if known {
			use, here = presetHere(name, running)
			here += "\t"
		}
		fmt.Fprintf(w, "%s\t%s\t%s%s\n", name, use, here, strings.Join(shownBy(name), ", "))
	}
	return w.Flush()
}

// presetHere says whether a running promscope uses a preset, and what comes of it.
func presetHere(name string, running []view.Rule) (use, here string) {
	use, here = "no", "–"
	for _, r := range running {
		if r.Preset != name {
			continue
		}
		use = "yes"
		switch {
		case r.Points > 0:
			return use, "shown"
		case r.Series > 0:
			here = "has series"
		default:
			here = cmp.Or(strings.TrimPrefix(here, "–"), "no series")
		}
	}
	return use, here
}

// shownBy returns the labels of a preset's metrics, each once.
func shownBy(name string) []string {
	var shown []string
	for _, r := range presetRules(name) {
		if !slices.Contains(shown, r.Label) {
			shown = append(shown, r.Label)
		}
	}
	return shown
}

// presetRules returns the rules of a preset. Its names do not depend on the interval.
func presetRules(name string) []*mapping.Rule {
	rules, _ := mapping.Preset(name, mapping.Options{ // presets have no errors
		Interval:  func([]*labels.Matcher) time.Duration { return 5 * time.Second },
		MaxWindow: 24 * time.Hour,
	})
	return rules
}
