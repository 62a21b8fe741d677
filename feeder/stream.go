package feeder

import (
	"iter"
	"strings"
	"time"

	"s3apu/protocol"
)

const (
	// freshFor is how long one iterator of the store is read before it is opened anew behind the last key: a store
	// keeps old files and memory for as long as a snapshot is read, and a scan may take hours. A guess.
	freshFor = 20 * time.Second

	// skipMost is how many rows of one sub-folder a shallow scan reads over before it opens the iterator anew behind
	// them. A guess.
	skipMost = 64
)

// stream is one of the sorted sequences that a scan merges, with its head in hand. All keys begin with base; an element
// at base itself is left out, for it belongs to the folder above. A shallow stream shows what is in sub-folders as
// one nested head with the key of the sub-folder. Not for concurrent use.
type stream[T any] struct {
	base    string
	shallow bool
	keyOf   func(T) protocol.Key
	open    func(after protocol.Key) iter.Seq2[T, error]
	fresh   time.Duration // 0: never opened anew

	ok     bool // there is a head
	key    string
	val    T    // not set if nested
	nested bool // key is that of a sub-folder in which something is

	next   func() (T, error, bool)
	stop   func()
	opened time.Time
	reads  int
	last   string // the last key read
}

// start opens the stream and reads its first head.
func (s *stream[T]) start() error {
	s.reopen("")
	return s.advance()
}

func (s *stream[T]) reopen(after string) {
	s.close()
	s.next, s.stop = iter.Pull2(s.open(protocol.Key(after)))
	s.opened, s.reads, s.last = time.Now(), 0, after
}

func (s *stream[T]) close() {
	if s.stop != nil {
		s.stop()
	}
	s.next, s.stop, s.ok = nil, nil, false
}

// advance reads the next head. An error ends the stream.
func (s *stream[T]) advance() error {
	skip := ""
	if s.ok && s.nested {
		skip = s.key
	}
	s.ok = false
	for skipped := 0; s.next != nil; {
		if skipped == skipMost && s.fresh > 0 {
			s.reopen(skip + "\xff") // no byte of UTF-8 is that large
		} else if s.reads++; s.fresh > 0 && s.reads%1024 == 0 && time.Since(s.opened) > s.fresh {
			s.reopen(s.last)
		}
		val, err, ok := s.next()
		if err != nil || !ok {
			s.close()
			return err
		}
		key := string(s.keyOf(val))
		s.last = key
		if key == s.base || !strings.HasPrefix(key, s.base) {
			continue
		}
		if skip != "" && strings.HasPrefix(key, skip) {
			skipped++
			continue
		}
		s.ok, s.key, s.val, s.nested = true, key, val, false
		if s.shallow {
			rest := key[len(s.base):]
			if i := strings.IndexByte(rest, '/'); i >= 0 && i < len(rest)-1 {
				var zero T
				s.key, s.val, s.nested = s.base+rest[:i+1], zero, true
			}
		}
		return nil
	}
	return nil
}

// take returns the element at key, if it is the head, and whether the sub-folder of that key has something in it. The
// element may have been read over by then: it is the caller's to copy if it is not to be kept.
func (s *stream[T]) take(key string) (val T, ok, nested bool, err error) {
	for s.ok && s.key == key {
		if s.nested {
			nested = true
		} else {
			val, ok = s.val, true
		}
		if err := s.advance(); err != nil {
			return val, ok, nested, err
		}
	}
	return val, ok, nested, nil
}

// mayHold reports whether something below dir, a key with a slash at its end, can lie ahead when all before dir without
// its slash is behind.
func (s *stream[T]) mayHold(dir string) bool {
	return s.ok && s.key < dir[:len(dir)-1]+"0" // '0' is '/' + 1
}
