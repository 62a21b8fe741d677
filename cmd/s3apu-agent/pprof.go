//go:build pprof

package main

import (
	"net"
	"net/http"
	_ "net/http/pprof" // adds itself to the default handler
	"os"
)

// Built with "-tags pprof" the agent serves profiles of the whole program on 127.0.0.1, at the port in S3APU_PPROF, until it ends
// (docs/design/0012). They are for whoever measures: the usual build has none of this, and so nothing that needs joining.
func init() {
	if port := os.Getenv("S3APU_PPROF"); port != "" {
		go func() { panic(http.ListenAndServe(net.JoinHostPort("127.0.0.1", port), nil)) }() //nolint:gosec // loopback, for who measures
	}
}
