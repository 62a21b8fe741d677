package bucket_test

import (
	"crypto/md5"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"s3apu/internal/bucket"
	"s3apu/protocol"
)

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("Refused", func(t *testing.T) {
		for name, op := range operations {
			if e := failed(t, op(reach(t, nobody)), protocol.KindUnreachable); e.Hint == "" {
				t.Errorf("%s: no hint", name)
			}
		}
		found := reach(t, nobody).Check(t.Context(), "")
		if len(found) != 1 || found[0].What != bucket.FindEndpoint || found[0].OK {
			t.Errorf("%+v", found)
		}
	})
	t.Run("Name", func(t *testing.T) {
		// .invalid never resolves (RFC 6761).
		_, err := put(reach(t, "http://s3.invalid"), "x")
		if e := failed(t, err, protocol.KindUnreachable); e.Hint == "" {
			t.Error("no hint")
		}
	})
	t.Run("TLS", func(t *testing.T) {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(body)))
			if got := r.Header.Get("X-Amz-Content-Sha256"); got != "UNSIGNED-PAYLOAD" {
				t.Errorf("payload hash over TLS is %q", got)
			}
			if r.ProtoMajor != 1 {
				t.Errorf("protocol is %s", r.Proto)
			}
		}))
		srv.EnableHTTP2 = true
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // it would tell of our refusals
		srv.StartTLS()
		defer srv.Close()
		_, err := put(reach(t, srv.URL), "x")
		if e := failed(t, err, protocol.KindUnreachable); !strings.Contains(e.Hint, "ca_file in [s3]") || strings.Contains(e.Error(), "\n") {
			t.Errorf("hint is %q", e.Hint)
		}
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		tr, err := bucket.NewTransport(bucket.TransportConfig{CAFile: file})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.CloseIdleConnections()
		if _, err := put(reach(t, srv.URL, func(c *bucket.Config) { c.Transport = tr }), "x"); err != nil {
			t.Errorf("with the server's certificate: %v", err)
		}
		_, err = put(reach(t, "http"+strings.TrimPrefix(srv.URL, "https")), "x")
		check(t, err, protocol.KindTarget) // "client sent an HTTP request to an HTTPS server"
	})
	t.Run("PlainForTLS", func(t *testing.T) {
		srv := httptest.NewServer(answer(200, "", ""))
		defer srv.Close()
		_, err := put(reach(t, "https"+strings.TrimPrefix(srv.URL, "http")), "x")
		if e := failed(t, err, protocol.KindUnreachable); !strings.Contains(e.Hint, "not https") {
			t.Errorf("%+v", e)
		}
	})
}
