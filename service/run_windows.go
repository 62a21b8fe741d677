package service

import (
	"context"
	"os"
	"sync"

	"github.com/kardianos/service"
)

// Run calls main with a context that ends when the service is to stop: on SIGTERM or SIGINT, or, under the service
// control manager of Windows, when that says so. A second signal ends the process at once. Run returns what main
// returned. main calls [Ready] when the service is up; on Windows that is taken for granted.
func Run(ctx context.Context, cfg Config, main func(ctx context.Context) error) error {
	if service.Interactive() {
		return runForeground(ctx, main)
	}
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &controlled{cfg: cfg, main: main, ctx: ctx, cancel: cancel}
	svc, err := service.New(p, &service.Config{Name: cfg.Name})
	if err != nil {
		return &Error{Op: "run", Name: cfg.Name, Err: err}
	}
	err = svc.Run()
	cancel()
	p.done.Wait()
	if p.err != nil {
		return p.err
	}
	return err
}

// controlled runs main between the Start and the Stop of the service control manager.
type controlled struct {
	cfg    Config
	main   func(context.Context) error
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
	err    error // what main returned; read after done
}

// Start is called by the service control manager and must return at once.
func (c *controlled) Start(svc service.Service) error {
	c.done.Add(1)
	go func() {
		defer c.done.Done()
		c.err = c.main(c.ctx)
		if c.ctx.Err() == nil {
			c.endedEarly(svc)
		}
	}()
	return nil
}

// Stop is called by the service control manager.
func (c *controlled) Stop(service.Service) error {
	c.cancel()
	c.done.Wait()
	return c.err
}

// endedEarly deals with a main that returned although nobody asked it to. The control manager starts a service again only
// if its process ends without saying that it has stopped, so this one ends so, unless the configuration is to blame.
func (c *controlled) endedEarly(svc service.Service) {
	code := 1
	if c.cfg.ExitCode != nil && c.err != nil {
		code = c.cfg.ExitCode(c.err)
	}
	if c.err != nil && (c.cfg.BadConfigExit == 0 || code != c.cfg.BadConfigExit) {
		os.Exit(code) //nolint:forbidigo // the only way to be started again, see above
	}
	// The control manager answers by calling Stop, which waits for this goroutine: so the request runs beside it. The
	// process ends right after.
	go func() { _ = svc.Stop() }()
}
