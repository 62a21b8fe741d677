package feeder

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"s3apu/protocol"
)

const bucketName = "bucket"

// fakeQueue is a queue and ledger of one bucket in memory.
type fakeQueue struct {
	onRoom    func()
	mu        sync.Mutex
	rows      map[protocol.Key]*protocol.Entry
	recs      map[protocol.Key]Record
	log       []Wish // what was put and not carried out
	all       []Wish // what was put, taken or not, since it was last carried out
	puts      int
	failed    map[protocol.Key]*protocol.Error
	adopted   []protocol.Key
	forgotten []protocol.Key
	dropped   []protocol.Key
	reads     int // rows that were yielded
	copies    int // files that were not sent

	look func(path string) (protocol.Stat, error) // of a worker that knows the folder's rule for links

	onPut    func([]Wish) error // before anything is taken
	onPend   func(protocol.Key)
	onLedger func(protocol.Key) // before a row is yielded
}

func newFakeQueue() *fakeQueue {
	return &fakeQueue{look: lstat, rows: map[protocol.Key]*protocol.Entry{}, recs: map[protocol.Key]Record{},
		failed: map[protocol.Key]*protocol.Error{}}
}

func (q *fakeQueue) Room(ctx context.Context) error {
	if q.onRoom != nil {
		q.onRoom()
	}
	return ctx.Err()
}

func (q *fakeQueue) Put(ctx context.Context, wishes ...Wish) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if q.onPut != nil {
		if err := q.onPut(wishes); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.puts++
	for _, w := range wishes {
		if err := w.Key.Check(); err != nil {
			return err
		}
		q.recs[w.Key] = Record{Instruction: w.Instruction, Hint: true, Held: w.Held}
		delete(q.failed, w.Key)
	}
	q.log = append(q.log, wishes...)
	q.all = append(q.all, wishes...)
	return nil
}

func (q *fakeQueue) Fail(_ context.Context, w Wish, reason *protocol.Error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.recs[w.Key] = Record{Instruction: w.Instruction, Hint: true, Dead: true}
	q.failed[w.Key] = reason
	return nil
}

func (q *fakeQueue) Pending(id protocol.ObjectID) (Record, bool, error) {
	if q.onPend != nil {
		q.onPend(id.Key)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	rec, ok := q.recs[id.Key]
	return rec, ok, nil
}

func (q *fakeQueue) Records(ctx context.Context, _ string, prefix, after protocol.Key) iter.Seq2[Record, error] {
	q.mu.Lock()
	defer q.mu.Unlock()
	recs := maps.Clone(q.recs)
	return func(yield func(Record, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(recs)) {
			if strings.HasPrefix(string(k), string(prefix)) && k > after && !yield(recs[k], ctx.Err()) {
				return
			}
		}
	}
}

func (q *fakeQueue) Drop(_ context.Context, ids []protocol.ObjectID) (n int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		if q.recs[id.Key].Dead {
			delete(q.recs, id.Key)
			delete(q.failed, id.Key)
			q.dropped = append(q.dropped, id.Key)
			n++
		}
	}
	return n, nil
}

func (q *fakeQueue) Entry(id protocol.ObjectID) (*protocol.Entry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.rows[id.Key]; e != nil {
		c := *e
		return &c, nil
	}
	return nil, nil
}

func (q *fakeQueue) MadeFrom(_ string, dev, ino uint64) (*protocol.Entry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var last *protocol.Entry
	for _, e := range q.rows {
		if e.Dev == dev && e.Ino == ino && (last == nil || e.Put > last.Put) {
			last = e
		}
	}
	if last == nil {
		return nil, nil
	}
	c := *last
	return &c, nil
}

// Ledger uses one Entry for all rows that it yields, as the interface allows.
func (q *fakeQueue) Ledger(ctx context.Context, _ string, prefix, after protocol.Key) iter.Seq2[*protocol.Entry, error] {
	q.mu.Lock()
	defer q.mu.Unlock()
	rows := maps.Clone(q.rows)
	return func(yield func(*protocol.Entry, error) bool) {
		var one protocol.Entry
		for _, k := range slices.Sorted(maps.Keys(rows)) {
			if !strings.HasPrefix(string(k), string(prefix)) || k <= after {
				continue
			}
			if q.onLedger != nil {
				q.onLedger(k)
			}
			q.reads++
			one = *rows[k]
			if !yield(&one, ctx.Err()) {
				return
			}
		}
	}
}

func (q *fakeQueue) Adopt(_ context.Context, entries ...*protocol.Entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range entries {
		c := *e
		q.rows[e.Key] = &c
		q.adopted = append(q.adopted, e.Key)
	}
	return nil
}

func (q *fakeQueue) Forget(_ context.Context, ids ...protocol.ObjectID) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		delete(q.rows, id.Key)
		q.forgotten = append(q.forgotten, id.Key)
	}
	return nil
}

// take returns what was put since the last take, as "verb key", held deletes as "held key".
func (q *fakeQueue) take() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	said := []string{}
	for _, w := range q.log {
		switch {
		case w.Held:
			said = append(said, "held "+string(w.Key))
		case w.From != "":
			said = append(said, "cpo "+strings.TrimPrefix(w.From, "/"+bucketName+"/")+" "+string(w.Key))
		default:
			said = append(said, w.Verb.String()+" "+string(w.Key))
		}
	}
	q.log = nil
	return said
}

// store is a bucket.
type store struct {
	objs map[protocol.Key]object
	fail error // of List, after the first failAt objects
	at   int
	asks int
}

type object struct {
	body   string
	etag   string
	folder bool
}

func newStore() *store { return &store{objs: map[protocol.Key]object{}} }

func sum(body string) string {
	s := md5.Sum([]byte(body))
	return hex.EncodeToString(s[:])
}

func (s *store) put(key protocol.Key, body string, folder bool) object {
	o := object{body: body, etag: sum(body), folder: folder}
	s.objs[key] = o
	return o
}

func (s *store) List(ctx context.Context, prefix protocol.Key, delimiter string, after protocol.Key) iter.Seq2[protocol.Object, error] {
	s.asks++
	return func(yield func(protocol.Object, error) bool) {
		n, last := 0, protocol.Key("")
		for _, k := range slices.Sorted(maps.Keys(s.objs)) {
			if s.fail != nil && n >= s.at {
				yield(protocol.Object{}, s.fail)
				return
			}
			if !strings.HasPrefix(string(k), string(prefix)) || k <= after {
				continue
			}
			o := protocol.Object{Key: k, Size: int64(len(s.objs[k].body)), ETag: s.objs[k].etag, Modified: time.Unix(1, 0)}
			if delimiter != "" {
				if i := strings.Index(string(k[len(prefix):]), delimiter); i >= 0 {
					o = protocol.Object{Key: k[:len(prefix)+i+1], Folder: true}
					if o.Key == last {
						continue
					}
				}
			}
			last = o.Key
			n++
			if !yield(o, ctx.Err()) {
				return
			}
		}
		if s.fail != nil {
			yield(protocol.Object{}, s.fail)
		}
	}
}

// carryOut does in the order of the log what the workers would do, and keeps the ledger.
func (q *fakeQueue) carryOut(s *store) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.log {
		if w.Held {
			continue
		}
		delete(q.recs, w.Key)
		known := q.rows[w.Key]
		if w.Verb == protocol.Del {
			if known != nil {
				delete(s.objs, w.Key)
				delete(q.rows, w.Key)
			}
			continue
		}
		st, err := q.look(w.Source)
		if missing(err) {
			continue
		}
		if err != nil {
			return err
		}
		body, folder := []byte{}, w.Verb == protocol.Mkd
		if folder != st.IsFolder() {
			return fmt.Errorf("%s %s: the source is of another kind", w.Verb, w.Key)
		}
		if !folder {
			if body, err = os.ReadFile(w.Source); err != nil {
				return err
			}
		}
		if known != nil && known.Stat == st && known.Source == w.Source {
			continue // the ledger says that nothing differs: as the worker does, it is believed
		}
		if from, err := protocol.ParseObjectID(w.From); w.From != "" && err == nil {
			if old := q.rows[from.Key]; old != nil && old.SameContent(st) && s.objs[from.Key].etag == old.ETag {
				body = []byte(s.objs[from.Key].body) // as the worker copies: whatever it holds
				q.copies++
			}
		}
		o := s.put(w.Key, string(body), folder)
		q.rows[w.Key] = &protocol.Entry{Bucket: bucketName, Key: w.Key, Verb: w.Verb, Source: w.Source, Stat: st, ETag: o.etag,
			MD5: o.etag, Put: time.Now().UnixNano()}
	}
	q.log, q.all = nil, nil
	return nil
}

// held is how many deletes are held.
func (q *fakeQueue) held() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.recs {
		if r.Held {
			n++
		}
	}
	return n
}
