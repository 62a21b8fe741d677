//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"s3apu/internal/bucket"
	"s3apu/internal/s3servers"
	"s3apu/protocol"
)

// personSteps are the failpoints on the way of a delete that waits for a person, and what leads there.
var personSteps = []struct {
	point string
	acts  []string // none: that the deletes are held
}{
	{"queue.hold", nil},
	{"feeder.held", nil},
	{"queue.person", []string{"release", "drop", "release all", "drop all"}},
	{"queue.person.done", []string{"release", "drop", "release all", "drop all"}},
	{"agent.disowned", []string{"drop"}},
	{"agent.disowned.page", []string{"drop all"}},
}

// TestKilledBesideAPerson kills the agent at each step of holding deletes, releasing and dropping them. After the next start
// what was held is held, unless the person's word for it is on disk; until the word is given nothing is deleted; what was
// released is carried out; what was dropped stays in the bucket, also through further scans and starts.
func TestKilledBesideAPerson(t *testing.T) {
	gate(t)
	prog := buildFailpoints(t)
	for _, step := range personSteps {
		if step.acts == nil {
			t.Run(step.point, func(t *testing.T) {
				t.Parallel()
				killedBesideAPerson(t, prog, step.point, "")
			})
		}
		for _, act := range step.acts {
			t.Run(step.point+"/"+act, func(t *testing.T) {
				t.Parallel()
				killedBesideAPerson(t, prog, step.point, act)
			})
		}
	}
}

// doomed is how many files go at once from a root that is empty then, so that their deletes are held.
const doomed = 6

// heldBox is a box whose deletes wait for a person.
type heldBox struct {
	*testing.T
	b  *box
	s3 *bucket.Bucket
}

func killedBesideAPerson(t *testing.T, prog, point, act string) {
	srv := s3servers.Start(t, s3servers.Folder)
	h := &heldBox{T: t, b: boxFor(t, srv, "held"), s3: srv.Bucket(t, "held")}
	h.b.extra = "[reconcile]\ninterval = \"1s\"\nlist = \"1s\"\n"
	h.b.save(t)
	var all []protocol.Key
	for i := range doomed {
		name := fmt.Sprint(i)
		h.b.put(t, name, noise(uint64(i), 1000))
		all = append(all, protocol.Key("in/"+name))
	}
	foreign := []byte("nobody's business")
	_, err := h.s3.Put(t.Context(), "in/foreign", protocol.Headers{ContentType: "text/plain"}, bytes.NewReader(foreign), int64(len(foreign)), md5.Sum(foreign))
	must(t, err)
	h.b.foreign = []protocol.Key{"in/foreign"}
	a := h.b.startReady(t)
	_, err = h.b.settle(t.Context(), h.s3, &person{}, settledIn)
	must(t, err)
	a.stop(t)
	for i := range doomed {
		must(t, os.Remove(filepath.Join(h.b.tree, fmt.Sprint(i))))
	}

	log := &output{}
	armed := h.b.startArmed(t, prog, point, 1, log)
	chosen := all[:1] // the client says it key by key
	if strings.HasSuffix(act, "all") {
		chosen = all
	}
	if act != "" {
		h.waits(all)
		if _, err := h.say(act, chosen); err == nil {
			t.Fatalf("the agent was not killed\n%s", log.tail(30))
		}
	}
	select {
	case <-armed.ended:
	case <-time.After(settledIn):
		t.Fatalf("nothing comes to the failpoint\n%s", log.tail(30))
	}
	spoken, dropping := point == "queue.person.done", strings.HasPrefix(act, "drop")
	if !spoken || dropping { // else some may have been carried out by now
		h.bucketHas(append(all, h.b.foreign...))
	}

	// Of those that were chosen, none or all are held: the word for them is one commit.
	rest := slices.DeleteFunc(slices.Clone(all), func(k protocol.Key) bool { return slices.Contains(chosen, k) })
	waiting := all
	if spoken {
		waiting = rest
	}
	a = h.b.startReady(t)
	h.waits(waiting)
	if !spoken || dropping {
		h.bucketHas(append(all, h.b.foreign...))
	}
	a.kill(t) // a hold outlives any start
	a = h.b.startReady(t)
	h.waits(waiting)

	// The person says it again, and the other thing of the rest.
	word, other := "release", "drop"
	if dropping {
		word, other = other, word
	}
	h.again(word, chosen, spoken)
	h.waits(rest)
	h.again(other, rest, false)
	dropped := rest
	if dropping {
		dropped = chosen
	}
	h.b.put(t, "later", []byte("uploads go on")) // what comes after has been scanned with the root not empty
	h.b.foreign = append(h.b.foreign, dropped...)
	p := &person{}
	_, err = h.b.settle(t.Context(), h.s3, p, settledIn)
	must(t, err)
	a.stop(t)
	a = h.b.startReady(t) // scans anew
	_, err = h.b.settle(t.Context(), h.s3, p, settledIn)
	must(t, err)
	a.stop(t)
	if p.released > 0 {
		t.Errorf("%d deletes were held once more", p.released)
	}
	h.bucketHas(append([]protocol.Key{"in/later"}, h.b.foreign...))
	h.b.booksAgree(t, srv, h.s3, h.b.foreign...)
}

// again says it of those keys, all of which are held unless it was heard before.
func (h *heldBox) again(word string, keys []protocol.Key, heard bool) {
	h.Helper()
	if len(keys) == 0 {
		return
	}
	n, err := h.say(word, keys)
	if want := len(keys); err != nil || !heard && n != want || heard && n != 0 {
		h.Errorf("%s of %d deletes changed %d, heard before: %v, %v", word, len(keys), n, heard, err)
	}
}

// say is a person's word.
func (h *heldBox) say(act string, keys []protocol.Key) (int, error) {
	c, err := protocol.Dial(h.Context(), "unix", h.b.socket, "")
	if err != nil {
		return 0, err
	}
	defer c.Close()
	word, all := strings.CutSuffix(act, " all")
	var ids []protocol.ObjectID
	for _, key := range keys {
		if !all {
			ids = append(ids, protocol.ObjectID{Key: key})
		}
	}
	if word == "drop" {
		return c.Drop(h.Context(), ids)
	}
	return c.Release(h.Context(), ids)
}

// waits waits until exactly these deletes are held.
func (h *heldBox) waits(keys []protocol.Key) {
	h.Helper()
	eventually(h.T, readyIn, func() error {
		got, err := h.held()
		if err == nil && !slices.Equal(got, keys) {
			err = fmt.Errorf("held are %q, want %q", got, keys)
		}
		return err
	})
}

func (h *heldBox) held() (keys []protocol.Key, err error) {
	ctx, cancel := context.WithTimeout(h.Context(), 10*time.Second)
	defer cancel()
	c, err := protocol.Dial(ctx, "unix", h.b.socket, "")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	list, err := c.Held(ctx, protocol.ObjectID{}, 1000)
	for _, f := range list {
		keys = append(keys, f.Key)
	}
	return keys, err
}

// bucketHas fails the test unless the bucket holds these objects and no other.
func (h *heldBox) bucketHas(want []protocol.Key) {
	h.Helper()
	var got []protocol.Key
	for o, err := range h.s3.List(h.Context(), "in/", "", "") {
		must(h.T, err)
		if o.Key != "in/" {
			got = append(got, o.Key)
		}
	}
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		h.Errorf("the bucket holds %q, want %q", got, want)
	}
}
