// Command promscope is a Weave Scope plugin that shows the metrics of the
// Prometheus exporters of its machine, and of its own eBPF and iowait
// collectors, on the nodes of Scope's map.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"

	"github.com/promscope/promscope/bridge"
)

func main() {
	if version.Version == "" {
		info, _ := debug.ReadBuildInfo()
		version.Version = builtVersion(info)
	}
	// The standard library's logger gets only what a target sends unasked: net/http quotes
	// up to 4 KiB of it, at each scrape, whoever may read the target.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// builtVersion is the version for a build that was not told one: what Go made of
// the module or of the tags in git. Where it does not know, as in go run, it is dev.
func builtVersion(info *debug.BuildInfo) string {
	if info == nil || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}

// environment is what every command works with.
type environment struct {
	options        bridge.Options
	logging        promslog.Config
	stdout, stderr io.Writer
}

// command is one of promscope's commands, with its own flags bound.
type command func(ctx context.Context, env *environment) error

// run parses the arguments, runs one command and returns the exit code: 0 when
// it succeeded, 1 when it failed, 2 when the command line cannot be used.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	env := &environment{stdout: stdout, stderr: stderr, logging: promslog.Config{Writer: stderr}}
	app, commands := newApp(env)
	app.UsageWriter(stdout).ErrorWriter(stderr)
	ended := false
	app.Terminate(func(int) { ended = true }) // --help, --version

	name, err := app.Parse(args)
	switch {
	case ended:
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "promscope: %s; see promscope --help\n", err)
		return 2
	}
	if err := commands[name](ctx, env); err != nil {
		fmt.Fprintf(stderr, "promscope: %s\n", err)
		return 1
	}
	return 0
}

// newApp declares the flags that all commands share, and the commands by name.
func newApp(env *environment) (*kingpin.Application, map[string]command) {
	app := kingpin.New("promscope", "A Weave Scope plugin that shows Prometheus metrics on the nodes of Scope's map.")
	app.HelpFlag.Short('h')
	app.Version(version.Print("promscope"))
	flag.AddFlags(app, &env.logging)
	o := &env.options
	app.Flag("config.file", "Configuration file. Without one: the built-in collectors and every exporter that listens on this machine on a port that is usual for metrics, with the presets that are in use by default.").
		PlaceHolder("FILE").StringVar(&o.File)
	app.Flag("scope.plugins-root", "Directory in which Scope's probe looks for plugins (default /var/run/scope/plugins). Wins over scope.plugins_root of the configuration.").
		PlaceHolder("DIR").StringVar(&o.PluginsRoot)
	app.Flag("scope.plugin-id", "Id of the plugin, and the name of its socket (default promscope). Wins over scope.plugin_id of the configuration.").
		PlaceHolder("ID").StringVar(&o.PluginID)
	app.Flag("scope.host", "Host name that Scope's probe uses for this machine (default: found out, see docs/host-name.md). Wins over scope.host of the configuration and over the environment variable SCOPE_HOSTNAME.").
		PlaceHolder("NAME").StringVar(&o.Host)

	commands := map[string]command{}
	for _, declare := range []func(*kingpin.Application) (string, command){
		declareRun, declareCheck, declareTest, declareExplain, declareDoctor, declareReport, declarePresets, declareShowPreset, declareVersion,
	} {
		name, c := declare(app)
		commands[name] = c
	}
	return app, commands
}

func declareVersion(app *kingpin.Application) (string, command) {
	return app.Command("version", "Print the version and exit.").FullCommand(),
		func(_ context.Context, env *environment) error {
			_, err := fmt.Fprintln(env.stdout, version.Print("promscope"))
			return err
		}
}
