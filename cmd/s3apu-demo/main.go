// Command s3apu-demo shows the main job on this machine, with nothing else installed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"s3apu/internal/demo"
)

func main() {
	dir := flag.String("dir", "", "keep everything in `DIR`; default: a new temporary folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	err := demo.Run(ctx, *dir, os.Stdout)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "s3apu-demo:", err)
		os.Exit(1)
	}
}
