package agent

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// S3 takes an upload, the answer is lost, and the file goes before it can be asked for again: the object must go too.
func TestLostAnswers(t *testing.T) {
	r := newRig(t)
	target, err := url.Parse(r.server.Endpoint)
	r.must(err)
	var lossy atomic.Bool
	var arrived atomic.Int64
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = p.In.Host }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !lossy.Load() {
			proxy.ServeHTTP(w, req)
			return
		}
		if req.Method == http.MethodPut {
			proxy.ServeHTTP(httptest.NewRecorder(), req)
			arrived.Add(1)
		}
		panic(http.ErrAbortHandler) // the connection breaks
	}))
	t.Cleanup(s.Close)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	r.cfg.S3.Endpoint = s.URL
	r.write("stays", "1")
	r.start()
	r.waitEqual("the feed")
	lossy.Store(true)
	r.write("victim", "2")
	r.write("becomes", "3")
	r.waitFor("both arrived", func() bool { return arrived.Load() >= 2 && len(r.held()) == 3 })
	r.must(os.Remove(filepath.Join(r.inbox, "victim")))
	r.must(os.Remove(filepath.Join(r.inbox, "becomes")))
	r.write("becomes/a-folder", "4")
	lossy.Store(false)
	r.waitEqual("after the answers were lost")
}
