package bucket_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"s3apu/protocol"
)

// TestBodiesStayApart has many small bodies sent at once to a server that answers each second one before it has read it: what
// arrives is what was to be sent, also where a buffer is used for one body after another.
func TestBodiesStayApart(t *testing.T) {
	content := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 1+n*7919%(23<<10)) }
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
		if err != nil {
			t.Error(err)
			return
		}
		want := content(n)
		sum := md5.Sum(want)
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
		w.Header().Set("Content-Length", "0")
		if n%2 == 0 {
			c := http.NewResponseController(w)
			if err := c.EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			w.WriteHeader(http.StatusOK)
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
		}
		if got, err := io.ReadAll(r.Body); n%2 == 1 && err != nil || err == nil && !bytes.Equal(got, want) {
			t.Errorf("%d: %d bytes have arrived that are not the %d that were sent: %v", n, len(got), len(want), err)
		}
	})
	var group sync.WaitGroup
	for hand := range 8 {
		group.Go(func() {
			for i := range 200 {
				n := hand*1000 + i
				body := content(n)
				if _, err := b.Put(t.Context(), protocol.Key(strconv.Itoa(n)), protocol.Headers{}, bytes.NewReader(body), int64(len(body)), md5.Sum(body)); err != nil {
					t.Errorf("%d: %v", n, err)
				}
			}
		})
	}
	group.Wait()
}

// TestBuffersAreUsedAgain counts what is allocated for bodies of 20 KiB that are sent one after another.
func TestBuffersAreUsedAgain(t *testing.T) {
	if raceDetector {
		t.Skip("with the race detector a sync.Pool throws away at random")
	}
	body := bytes.Repeat([]byte{1}, 20<<10)
	sum := md5.Sum(body)
	b := against(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	})
	each := testing.Benchmark(func(tb *testing.B) {
		tb.ReportAllocs()
		for tb.Loop() {
			if _, err := b.Put(t.Context(), "k", protocol.Headers{}, bytes.NewReader(body), int64(len(body)), sum); err != nil {
				tb.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if each > 24<<10 {
		t.Errorf("%d bytes are allocated for each, the server's included: buffers are made anew", each)
	}
}
