package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"s3apu/protocol"
)

// TransportConfig is what all buckets of a process share.
type TransportConfig struct {
	Connections int    // idle connections kept per host, of net/http and of our own: the requests that run at the same time, workers and parts
	CAFile      string // PEM certificates to trust beside those of the system; for servers with a CA of their own
}

const (
	dialTimeout      = 10 * time.Second // a guess: three SYNs, at 0, 1 and 3 s, and time for the answer to the last
	handshakeTimeout = 10 * time.Second // net/http's own default
	keepAlive        = 15 * time.Second // net.Dialer's own default
	// idleTimeout is shorter than what servers allow (MinIO 30 s and more, AWS some 20 s by observation of others, a
	// guess), so that it is seldom us who write into a connection that the server has just closed.
	idleTimeout = 15 * time.Second
	// continueTimeout is how long a large body waits for "100 Continue" before it is sent all the same; the value is
	// net/http's own default.
	continueTimeout = time.Second
)

// NewTransport returns a transport to be shared by all buckets of a process: HTTP/1.1 only (with HTTP/2 one lost
// packet holds up every transfer), certificates always verified, proxies from the environment. The caller closes its
// idle connections when the last bucket is done. The one error is a CAFile that cannot be used (KindUsage).
func NewTransport(c TransportConfig) (*Transport, error) {
	if c.Connections <= 0 {
		c.Connections = defaultConnections
	}
	roots, err := loadRoots(c.CAFile)
	if err != nil {
		return nil, err
	}
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return &Transport{wires: wires{most: c.Connections}, Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           d.DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{}, // not nil: no HTTP/2
		TLSHandshakeTimeout:   handshakeTimeout,
		ExpectContinueTimeout: continueTimeout,
		IdleConnTimeout:       idleTimeout,
		MaxIdleConnsPerHost:   c.Connections,
		DisableCompression:    true,     // bodies are compared byte by byte
		WriteBufferSize:       32 << 10, // of a body, from a file; a guess
		ReadBufferSize:        answerBuffer,
	}}, nil
}

// loadRoots returns the system's certificates and those of file, or nil, which means the system's, if file is empty.
func loadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	fail := func(err error) error {
		return &protocol.Error{Op: "read the certificates of", Object: file, Kind: protocol.KindUsage, Err: err,
			Hint: "the file must hold certificates in PEM form"}
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fail(err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without certificates: those of the file have to do
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fail(errors.New("it holds no certificate"))
	}
	return pool, nil
}

// errStalled is the cause of an attempt that was given up because nothing moved.
var errStalled = errors.New("the connection stood still for too long")

// watched sends requests through a transport and gives each one up once nothing has moved for a while. It follows no
// redirects: S3's name another region, which is a matter of configuration.
type watched struct {
	rt    http.RoundTripper
	stall time.Duration
}

// patience is how many times longer than others a request may be silent that makes the server copy or join data.
const patience = 10

// Do makes one attempt; the SDK calls it for each. A read of the body counts as a movement.
func (w *watched) Do(req *http.Request) (*http.Response, error) {
	attempt(req.Context())
	stall := w.stall
	if req.Method == http.MethodPost || req.Header.Get("X-Amz-Copy-Source") != "" {
		stall *= patience
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	p := &pulse{stall: stall, cancel: cancel}
	p.timer = time.AfterFunc(stall, func() { cancel(errStalled) })

	req = req.WithContext(ctx)
	var up *upward
	if req.Body != nil && req.Body != http.NoBody {
		up = &upward{ReadCloser: req.Body, pulse: p}
		req.Body = up
	}
	resp, err := w.rt.RoundTrip(req)
	if err != nil {
		p.stop()
		if errors.Is(context.Cause(ctx), errStalled) {
			return nil, errStalled
		}
		if up != nil {
			// The source's own error says more than that the request broke off.
			if failed := up.failed.Load(); failed != nil {
				return nil, *failed
			}
		}
		return nil, err
	}
	p.beat()
	resp.Body = &downward{ReadCloser: resp.Body, pulse: p, ctx: ctx}
	return resp, nil
}

// pulse is the watchdog of one attempt.
type pulse struct {
	stall  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func (p *pulse) beat() { p.timer.Reset(p.stall) }

func (p *pulse) stop() {
	p.timer.Stop()
	p.cancel(nil)
}

// upward is the body of a request.
type upward struct {
	io.ReadCloser
	pulse  *pulse
	failed atomic.Pointer[error]
}

func (u *upward) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	u.pulse.beat()
	if err != nil && !errors.Is(err, io.EOF) {
		u.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// downward is the body of an answer.
type downward struct {
	io.ReadCloser
	pulse *pulse
	ctx   context.Context
}

func (d *downward) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(d.ctx), errStalled) {
		err = errStalled
	}
	d.pulse.beat()
	return n, err
}

func (d *downward) Close() error {
	err := d.ReadCloser.Close()
	d.pulse.stop()
	return err
}
