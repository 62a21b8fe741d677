//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// runFloor is the process of the floor: it walks a folder, reads each file, and sends it with its Content-MD5 in one
// signed PUT over a number of connections. It keeps nothing, compares nothing and tries nothing twice: nobody who uses
// net/http can be faster by more than what that leaves out.
func runFloor(ctx context.Context, args []string, _ io.Reader, _ io.Writer) error {
	set := flag.NewFlagSet("floor", flag.ContinueOnError)
	endpoint := set.String("endpoint", "", "http://host:port")
	bucket := set.String("bucket", "", "")
	prefix := set.String("prefix", "", "before each path, with its slash")
	dir := set.String("dir", "", "the folder")
	hands := set.Int("connections", 16, "")
	if err := set.Parse(args); err != nil {
		return err
	}
	at, err := url.Parse(*endpoint)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: *hands, DisableCompression: true}}
	sign := newSigner(accessKey, secretKey, region, time.Now())
	paths := make(chan string, 1024) // a guess: the walk is ahead of the hands
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group sync.WaitGroup
	for range *hands {
		group.Go(func() {
			for path := range paths {
				rel, err := filepath.Rel(*dir, path)
				if err == nil {
					u := *at
					u.Path = "/" + *bucket + "/" + *prefix + rel
					err = put(ctx, client, sign, &u, path)
				}
				if err != nil {
					stop(err)
					return
				}
			}
		})
	}
	err = filepath.WalkDir(*dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			select {
			case paths <- path:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return err
	})
	close(paths)
	group.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

func put(ctx context.Context, client *http.Client, sign *signer, u *url.URL, path string) error {
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum := md5.Sum(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header["Content-Md5"] = []string{base64.StdEncoding.EncodeToString(sum[:])}
	_, err = send(client, sign, req)
	return err
}

// send signs and sends a request and returns the length that the answer has, or that it names.
func send(client *http.Client, sign *signer, req *http.Request) (int64, error) {
	sign.sign(req, time.Now())
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", req.Method, req.URL, resp.Status, text)
	}
	return resp.ContentLength, err
}
