package bridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/plugin"
)

const (
	// checkInterval is how often the socket is looked after. The looks are on the whole
	// second, when collectors are gathered: what happens together is one wake-up.
	checkInterval = 2 * time.Second

	// standstill is for how long the report may stand still. It is published once a
	// second, whatever there is to publish, and later on a machine that is starved.
	// Scope shows what it has for 15 s.
	standstill = 20 * time.Second
)

// health looks after the socket, knows whether promscope does its job, and tells
// systemd (sd_notify(3)).
type health struct {
	check       func() error     // looks after the socket; why there is none
	socketErr   func() error     // what the last look said
	lastPublish func() time.Time // of the report
	notify      func(state string)
	watchdog    time.Duration // within which systemd wants to hear; 0 if it does not
}

// Run looks after the socket until ctx is done. systemd hears that promscope is ready,
// that it ends, and meanwhile, as long as the report moves, that it lives.
func (h *health) Run(ctx context.Context) error {
	h.notify(daemon.SdNotifyReady)
	defer h.notify(daemon.SdNotifyStopping)
	interval := checkInterval
	if h.watchdog > 0 {
		interval = min(interval, h.watchdog/4)
	}
	var beat time.Time
	for {
		now := time.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval - time.Duration(now.UnixNano())%interval):
		}
		_ = h.check() // logged, and Err has it
		// systemd wants a beat in half of the time, and each is a wake-up for it.
		if now = time.Now(); h.watchdog > 0 && now.Sub(beat) > h.watchdog/4 && !h.restartHelps() {
			h.notify(daemon.SdNotifyWatchdog)
			beat = now
		}
	}
}

// restartHelps reports whether systemd shall start promscope anew. At a start systemd mounts
// the plugins root, and makes the directory that promscope may not make (RuntimeDirectory=).
// A start does not help against what is in the socket's way: promscope waits until that is
// gone.
func (h *health) restartHelps() bool {
	err := h.socketErr()
	return h.moves() != nil || errors.Is(err, plugin.ErrRootGone) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)
}

// moves says whether the report moves: nil, or since when it does not.
func (h *health) moves() error {
	if still := time.Since(h.lastPublish()); still > standstill {
		return fmt.Errorf("the report has stood still for %s", still.Round(time.Second))
	}
	return nil
}

// err is why promscope does not do its job; nil if it does.
func (h *health) err() error {
	if err := h.socketErr(); err != nil {
		return fmt.Errorf("no probe finds promscope: %w", err)
	}
	return h.moves()
}

// notifySystemd tells systemd something. Elsewhere it does nothing.
func notifySystemd(logger *slog.Logger) func(state string) {
	return func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			logger.Warn("systemd could not be told of promscope's state", "state", state, "err", err)
		}
	}
}

// reloading tells systemd of a reload, and what is returned of its end.
func (h *health) reloading() (done func()) {
	h.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	return func() { h.notify(daemon.SdNotifyReady) }
}
