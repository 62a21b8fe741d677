package service

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// runForeground is Run for a process that signals end.
func runForeground(ctx context.Context, main func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	tell := func() {
		stop() // A second signal ends the process at once, as people expect of a second Ctrl-C.
		if err := Stopping(); err != nil {
			slog.WarnContext(ctx, "the service manager was not told", "err", err)
		}
	}
	var telling sync.WaitGroup
	defer telling.Wait()
	telling.Add(1)
	cancel := context.AfterFunc(ctx, func() {
		defer telling.Done()
		tell()
	})
	err := main(ctx)
	if cancel() {
		// main may see the end of ctx, and return, before the goroutine that tells was started.
		if ctx.Err() != nil {
			tell()
		}
		telling.Done()
	}
	return err
}
