//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// server is a real S3 server, in a process and a folder of its own.
type server struct {
	*process
	name, endpoint, dir string
	client              *http.Client
	sign                *signer
}

// serverStarts is how long a server may take until it answers. A guess, a generous one.
const serverStarts = 30 * time.Second

// startServer starts versitygw or MinIO and makes a bucket.
func (h *harness) startServer(ctx context.Context, t tool, bucket string) (_ *server, err error) {
	path := h.want(ctx, t)
	if path == "" {
		return nil, fmt.Errorf("%s could not be had", t.name)
	}
	dir, err := os.MkdirTemp(h.dir, t.name+"-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close() // nobody listens there for a moment
	data, side := filepath.Join(dir, "data"), filepath.Join(dir, "side")
	for _, d := range []string{data, side} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	var cmd *exec.Cmd
	switch t.name {
	case "versitygw": // metadata beside the data: not every file system has extended attributes
		cmd = exec.CommandContext(ctx, path, "--port", addr, "--region", region, "--quiet", "--keep-alive", "posix", "--sidecar", side, data)
	default:
		cmd = exec.CommandContext(ctx, path, "server", "--quiet", "--address", addr, "--console-address", "127.0.0.1:0", data)
	}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + side, "ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey,
		"MINIO_ROOT_USER=" + accessKey, "MINIO_ROOT_PASSWORD=" + secretKey, "MINIO_UPDATE=off", "MINIO_REGION=" + region}
	log, err := os.Create(filepath.Join(h.logs, t.name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	s := &server{name: t.name, endpoint: "http://" + addr, dir: dir, client: &http.Client{},
		sign: newSigner(accessKey, secretKey, region, time.Now())}
	if s.process, err = begin(cmd); err != nil {
		return nil, err
	}
	if err := s.wait(ctx, bucket); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w: %s", t.name, err, tail(log.Name())), s.close())
	}
	return s, nil
}

// wait makes the bucket as soon as the server lets it.
func (s *server) wait(ctx context.Context, bucket string) error {
	ctx, cancel := context.WithTimeout(ctx, serverStarts)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond) // a guess
	defer tick.Stop()
	for {
		_, err := s.ask(ctx, http.MethodPut, bucket)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// ask sends a signed request without a body to a path: bucket, or bucket/key. It returns
// the length that the answer names.
func (s *server) ask(ctx context.Context, method, path string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.endpoint+"/"+path, nil)
	if err != nil {
		return 0, err
	}
	return send(s.client, s.sign, req)
}

func (s *server) close() error {
	s.client.CloseIdleConnections()
	return errors.Join(s.stop(), os.RemoveAll(s.dir))
}
