//go:build !windows

package service

import "context"

// Run calls main with a context that ends when the service is to stop: on SIGTERM or SIGINT, or, under the service
// control manager of Windows, when that says so. A second signal ends the process at once. Run returns what main
// returned. main calls [Ready] when the service is up; on Windows that is taken for granted.
func Run(ctx context.Context, _ Config, main func(ctx context.Context) error) error {
	return runForeground(ctx, main)
}
