// Package web serves what the agent tells about itself over HTTP, on loopback unless configured otherwise. It reads and
// never steers: there is no request that changes anything.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of the server.
const (
	readTimeout  = 10 * time.Second // for a request's headers (a guess)
	writeTimeout = 10 * time.Second // for an answer of a few KB (a guess)
	stopTimeout  = 2 * time.Second  // for answers under way when the agent stops (a guess)
)

// Health returns the state to show and whether it is well. It is called for each request, at any time.
type Health func() (state any, ok bool)

// Handler answers GET /healthz with the state as JSON: 200 if well, else 503.
func Handler(health Health) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		state, ok := health()
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(state) // the client went away
	})
	return mux
}

// Serve answers on the listener until ctx ends, and closes it.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := s.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.Close()
	}
	<-done
	return err
}
