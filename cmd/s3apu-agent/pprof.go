//go:build pprof

package main

import (
	"net/http"
	_ "net/http/pprof" // adds itself to the default handler
	"os"
)

// Built with "-tags pprof" the agent serves its profiles at the address in S3APU_PPROF, such as 127.0.0.1:6060, for whoever
// measures it. No released build has this.
func init() {
	if addr := os.Getenv("S3APU_PPROF"); addr != "" {
		go func() { panic(http.ListenAndServe(addr, nil)) }() //nolint:gosec // a loopback address, for a minute
	}
}
