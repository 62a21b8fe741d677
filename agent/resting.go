package agent

import (
	"sync"
	"time"

	"s3apu/protocol"
	"s3apu/watcher"
)

const (
	// briefly is how long a file must not have changed to be left to the workers where they will be told whether somebody writes it.
	// One that still is goes through the queue in vain. A guess: most are closed within a millisecond of their last byte.
	briefly = 10 * time.Millisecond
	// toldFor is how long it is believed that the kernel tells. A guess: short, for something else may be mounted by then.
	toldFor = time.Second
)

// resting says whether files of a folder are at rest, and of which ones that may be left to the workers, who ask the kernel for themselves.
// Safe for concurrent use.
type resting struct {
	settle time.Duration

	mu   sync.Mutex
	told map[kernelTells]time.Time // when it last did
}

// kernelTells is what decides whether the kernel tells who writes a file: its file system, and whether we may ask (fcntl(2), F_SETLEASE).
type kernelTells struct {
	dev uint64
	uid uint32
}

// is reports whether the file at path, in that state, is at rest as far as can be told; what the kernel cannot tell, the watcher has
// settled.
func (r *resting) is(path string, st protocol.Stat) bool {
	rest, told := watcher.AtRestPath(path, r.settle, time.Now())
	if of := (kernelTells{st.Dev, st.UID}); told {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.told == nil || len(r.told) > 1000 { // a guess: that many owners have to be asked for again
			r.told = map[kernelTells]time.Time{}
		}
		r.told[of] = time.Now()
	}
	return rest != watcher.Busy
}

// left reports whether a file in that state may be left to the workers: by its times it is at rest, or is likely to be and the kernel tells.
func (r *resting) left(st protocol.Stat) bool {
	now := time.Now()
	age := now.Sub(time.Unix(0, max(st.MTime, st.CTime)))
	if age >= r.settle || age < briefly {
		return age >= r.settle
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last, told := r.told[kernelTells{st.Dev, st.UID}]
	return told && now.Sub(last) < toldFor
}
