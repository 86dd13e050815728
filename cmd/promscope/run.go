package main

import (
	"context"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"

	"github.com/promscope/promscope/bridge"
)

func declareRun(app *kingpin.Application) (string, command) {
	cmd := app.Command("run", "Run the plugin until interrupted. SIGHUP loads the configuration anew.").Default()
	var web bridge.WebOptions
	cmd.Flag("web.listen-address", `Address of the debug server with /metrics, /-/healthy and /-/ready; "" for none.`).
		Default("127.0.0.1:4041").StringVar(&web.ListenAddress)
	cmd.Flag("web.allowed-host", "Further name by which clients may reach the debug server: that of a proxy or a tunnel in front of it. May be repeated. On a loopback address it answers only to loopback names and addresses otherwise, which keeps web pages of other sites out.").
		PlaceHolder("NAME").StringsVar(&web.AllowedHosts)
	cmd.Flag("web.config.file", "File that enables TLS or basic authentication on the debug server, as for every Prometheus exporter.").
		PlaceHolder("FILE").StringVar(&web.ConfigFile)
	cmd.Flag("web.enable-lifecycle", "Let POST /-/reload load the configuration anew.").
		BoolVar(&web.EnableLifecycle)

	var autoReload time.Duration
	cmd.Flag("config.auto-reload-interval", "How often to look whether the configuration file or its rule files have changed, to load them anew; 0s for never.").
		Default("0s").DurationVar(&autoReload)

	return cmd.FullCommand(), func(ctx context.Context, env *environment) error {
		env.options.Web, env.options.AutoReload = web, autoReload
		logger := promslog.New(&env.logging)
		// Of the cgroup's memory a tenth is for what is not Go's: eBPF maps, sockets,
		// pages of files.
		if limit, err := memlimit.Set(); err != nil {
			logger.Warn("The memory limit of promscope's cgroup is not known", "err", err)
		} else if limit < math.MaxInt64 {
			logger.Info("Garbage is collected more often near the cgroup's memory limit, or GOMEMLIMIT", "at_bytes", limit)
		}
		// From now on, for the start takes a second: a reload that is asked for meanwhile follows it.
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		// Whoever reads the log may go. Without this the next line would end promscope.
		signal.Ignore(syscall.SIGPIPE)
		b, err := bridge.New(env.options, logger)
		if err != nil {
			return err
		}
		// Now that its addresses are bound and its collectors attached: a port below 1024
		// takes a capability, and on old kernels so does locking memory for eBPF maps.
		if left, err := b.GiveUpRights(); err != nil {
			logger.Warn("Capabilities that promscope has no use for could not be given up", "err", err)
		} else {
			logger.Info("Capabilities that promscope has no use for are given up", "left", strings.Join(left, " "))
		}
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-hangup:
					_ = b.Reload() // logged, and in promscope_config_last_reload_successful
				}
			}
		}()
		return b.Run(ctx)
	}
}
