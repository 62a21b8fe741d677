package agent

import (
	"bytes"
	"crypto/md5"
	"strings"
	"sync"
)

func md5Of(s string) [16]byte { return md5.Sum([]byte(s)) }

// safeBuffer is a buffer for many writers and readers.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *safeBuffer) count(word string) int { return strings.Count(b.String(), word) }
