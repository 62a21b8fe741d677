package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Exit runs [Main] as the program called name, with what the process was given, and ends the process with its exit
// code. SIGINT and SIGTERM end the work in order; a second one ends the process at once.
func Exit(name string) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := Main(ctx, name, os.Args[1:], os.Environ(), Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
