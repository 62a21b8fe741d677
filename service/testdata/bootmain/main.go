// Command bootmain is the smallest program with the service's commands, for .ci/service-test.sh where the agent itself is
// not wanted: "run" is ready at once and waits for its end; a configuration with the word "bad" ends it with 2.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"s3apu/service"
)

var errConfig = errors.New("the configuration is bad")

func main() {
	program, err := os.Executable()
	if err != nil || len(os.Args) != 4 || os.Args[2] != "--config" {
		fmt.Fprintln(os.Stderr, "usage: bootmain COMMAND --config FILE", err)
		os.Exit(64)
	}
	cfg := service.Config{Name: "s3apu", Description: "Boot test", Executable: program, ConfigFile: os.Args[3],
		BadConfigExit: 2}
	if err := do(context.Background(), os.Args[1], cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, errConfig) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func do(ctx context.Context, command string, cfg service.Config) error {
	var report []string
	var err error
	switch command {
	case "install":
		report, err = service.Install(ctx, cfg)
	case "uninstall":
		report, err = service.Uninstall(ctx, cfg)
	case "start":
		err = service.Start(ctx, cfg)
	case "stop":
		err = service.Stop(ctx, cfg)
	case "restart":
		err = service.Restart(ctx, cfg)
	case "status":
		var st service.State
		st, err = service.Status(ctx, cfg)
		if err == nil {
			report = append(report, st.String())
		}
	case "run":
		return service.Run(ctx, cfg, run)
	}
	for _, line := range report {
		fmt.Println(line)
	}
	return err
}

func run(ctx context.Context) error {
	text, err := os.ReadFile(os.Args[3])
	if err != nil {
		return err
	}
	if strings.Contains(string(text), "bad") {
		return errConfig
	}
	fmt.Fprintln(os.Stderr, "ready")
	if err := errors.Join(service.Say("all is well"), service.Ready()); err != nil {
		return err
	}
	<-ctx.Done()
	fmt.Fprintln(os.Stderr, "stopped")
	return nil
}
