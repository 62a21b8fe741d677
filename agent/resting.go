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
	// mostTellers is how many pairs of a file system and an owner are remembered. A guess: a few hundred KB; beyond it all are asked anew.
	mostTellers = 1000
)

// resting says whether files of a folder are at rest, and which ones may be left to the workers, who ask the kernel for themselves. Safe
// for concurrent use.
type resting struct {
	settle time.Duration

	mu   sync.Mutex
	told map[teller]answer

	tells func(path string) bool // tests: instead of watcher.Tells
}

// teller is what decides whether the kernel tells who writes a file: its file system, and whether we may ask (fcntl(2), F_SETLEASE).
type teller struct {
	dev uint64
	uid uint32
}

// answer is whether the kernel tells of each file, and when that was found out.
type answer struct {
	each bool
	at   time.Time
}

// atRest reports whether the file at path, in that state, is at rest as far as can be told; what the kernel cannot tell, the watcher has
// settled.
func (r *resting) atRest(path string, st protocol.Stat) bool {
	rest, told := watcher.AtRestPath(path, r.settle, time.Now())
	if told {
		r.heard(path, teller{st.Dev, st.UID})
	}
	return rest != watcher.Busy
}

// heard takes in that the kernel has told of a file.
func (r *resting) heard(path string, of teller) {
	if _, fresh := r.answer(of); fresh {
		return
	}
	tells := r.tells
	if tells == nil {
		tells = watcher.Tells
	}
	each := tells(path)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told == nil || len(r.told) >= mostTellers {
		r.told = map[teller]answer{}
	}
	r.told[of] = answer{each, time.Now()}
}

// answer returns whether the kernel tells of each file, and whether that is fresh enough to be believed.
func (r *resting) answer(of teller) (each, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.told[of]
	return a.each, time.Since(a.at) < toldFor
}

// mayLeave reports whether a file in that state may be left to the workers: by its times it is at rest, or is likely to be and the kernel
// tells. One with a time in the future may not.
func (r *resting) mayLeave(st protocol.Stat) bool {
	now := time.Now()
	age := now.Sub(time.Unix(0, max(st.MTime, st.CTime)))
	if age >= r.settle || age < briefly {
		return age >= r.settle
	}
	each, fresh := r.answer(teller{st.Dev, st.UID})
	return each && fresh
}
