package agent

import (
	"context"
	"os"

	"s3apu/protocol"
	"s3apu/queue"
)

// serveLate opens the unix socket in a state_dir that could not take it when the agent was made, once the queue lies
// there, and serves it.
func (a *Agent) serveLate(ctx context.Context, server *protocol.Server) error {
	for wait := retryPause; ; wait = min(2*wait, mostPause) {
		if err := a.queue.Up(ctx); err != nil {
			return nil //nolint:nilerr // the agent stops
		}
		if a.madeState { // the queue made it for itself
			if err := os.Chmod(a.cfg.StateDir, stateDirMode); err != nil {
				a.log.Warn("the state_dir is closed to the service's group", "err", err)
			}
		}
		l, err := protocol.Listen("unix", a.cfg.SocketPath(), a.peers) //nolint:contextcheck // it waits two seconds at the most
		if err == nil {
			a.log.Info("the socket is open", "addr", a.cfg.SocketPath())
			return server.Serve(ctx, l)
		}
		if !queue.Refusal(err) {
			return err
		}
		pause(ctx, wait)
	}
}
