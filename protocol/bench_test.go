package protocol

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// noopHandler accepts everything and keeps nothing.
type noopHandler struct{}

func (noopHandler) Put(context.Context, []Instruction) error { return nil }
func (noopHandler) Pop(context.Context, int, time.Duration) ([]Instruction, error) {
	return nil, nil
}
func (noopHandler) Lease(context.Context, int, time.Duration, time.Duration) ([]Delivery, error) {
	return nil, nil
}
func (noopHandler) Settle(_ context.Context, rs []Result) ([]Outcome, error) {
	return make([]Outcome, len(rs)), nil
}
func (noopHandler) Info() Info                                               { return Info{} }
func (noopHandler) Failed(context.Context, ObjectID, int) ([]Failure, error) { return nil, nil }
func (noopHandler) Held(context.Context, ObjectID, int) ([]Failure, error)   { return nil, nil }
func (noopHandler) Release(context.Context, []ObjectID) (int, error)         { return 0, nil }
func (noopHandler) Drop(context.Context, []ObjectID) (int, error)            { return 0, nil }
func (noopHandler) Retry(context.Context, []ObjectID) (int, error)           { return 0, nil }

// BenchmarkPut64 is the socket alone: 64 clients pipeline uploads to a queue that does nothing.
func BenchmarkPut64(b *testing.B) {
	for _, network := range []string{"unix", "tcp"} {
		b.Run(network, func(b *testing.B) {
			const clients, each = 64, 1000
			addr := listenFor(b, &Server{Handler: noopHandler{}, CheckSource: anySource}, network)
			ins := make([]Instruction, each)
			for i := range ins {
				ins[i] = Instruction{Verb: Upl, Source: fmt.Sprintf("/srv/inbox/camera 7/2026-11-22/frame-%06d.jpg", i), Key: Key(fmt.Sprintf("camera 7/2026-11-22/frame-%06d.jpg", i))}
			}
			var cs []*Client
			for range clients {
				c, err := Dial(b.Context(), network, addr, "")
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				cs = append(cs, c)
			}
			for b.Loop() {
				var all sync.WaitGroup
				for _, c := range cs {
					all.Go(func() {
						if err := c.Put(b.Context(), ins); err != nil {
							b.Error(err)
						}
					})
				}
				all.Wait()
			}
			b.ReportMetric(float64(b.N)*clients*each/b.Elapsed().Seconds(), "instructions/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, text := range map[string]string{
		"plain":   "upl|/srv/inbox/camera7/2026-11-22/frame-000001.jpg|camera7/2026-11-22/frame-000001.jpg",
		"escaped": "upl|/srv/inbox/camera%207/2026-11-22/frame%20000001.jpg|camera%207/2026-11-22/frame%20000001.jpg",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeInstruction(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	in := Instruction{Verb: Upl, Source: "/srv/inbox/camera 7/2026-11-22/frame-000001.jpg", Key: "camera 7/2026-11-22/frame-000001.jpg"}
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		var err error
		if dst, err = AppendInstruction(dst[:0], in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSourcePolicy(b *testing.B) {
	dir := b.TempDir()
	check := SourcePolicy([]string{dir})
	b.ReportAllocs()
	for b.Loop() {
		if err := check(dir + "/frame-000001.jpg"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSources is the same for what comes together.
func BenchmarkSources(b *testing.B) {
	dir := b.TempDir()
	rule := NewSources([]string{dir})
	var g glance
	defer g.end()
	b.ReportAllocs()
	for b.Loop() {
		if err := rule.check(dir+"/frame-000001.jpg", &g); err != nil {
			b.Fatal(err)
		}
	}
}
