package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The manifest of a store lists its tables. Pebble 2.1.7 takes a damaged record near its end for the torn end that a power
// cut leaves, and goes on with the older list: tables are lost without a word (version_set.go, load). So what was
// synced of a manifest is sealed in a file beside it: number, length and checksum. When the store is opened, the manifest
// must begin with what was sealed. It may be longer, for a crash may come between the sync and the seal.
//
// The file has two slots. A new manifest is sealed before it becomes the one in use, so it takes the slot that is not the
// one's in use, which has to fit if a crash comes between. A slot that was torn, or never written, seals nothing.
const (
	sealName     = "SEAL"
	sealSlot     = 512 // bytes from one slot to the next: no sector is shared
	sealSlots    = 2
	sealBytes    = 28 // number, length, checksum of the manifest, and of these three
	manifestName = "MANIFEST-"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal is what was synced of a manifest.
type seal struct {
	number, length uint64
	sum            uint32
}

func (s seal) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.number)
	b = binary.BigEndian.AppendUint64(b, s.length)
	b = binary.BigEndian.AppendUint64(b, uint64(s.sum))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parseSeal is the inverse of encode; ok is false for anything else.
func parseSeal(b []byte) (s seal, ok bool) {
	if len(b) < sealBytes || binary.BigEndian.Uint32(b[24:]) != crc32.Checksum(b[:24], castagnoli) {
		return seal{}, false
	}
	return seal{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), uint32(binary.BigEndian.Uint64(b[16:]))}, true
}

// manifestNumber returns the number of a manifest by its path, and whether it is one.
func manifestNumber(f vfs.FS, path string) (uint64, bool) {
	text, ok := strings.CutPrefix(f.PathBase(path), manifestName)
	n, err := strconv.ParseUint(text, 10, 64)
	return n, ok && err == nil
}

// sealedFile is a manifest that is being written. What is synced of it is sealed.
type sealedFile struct {
	vfs.File
	g    *guardFS
	path string // of the seals

	mu   sync.Mutex
	slot int64
	now  seal
}

// newSealed takes a manifest that was just made.
func newSealed(g *guardFS, f vfs.File, name string, number uint64) *sealedFile {
	dir := g.PathDir(name)
	s := &sealedFile{File: f, g: g, path: g.PathJoin(dir, sealName), now: seal{number: number}}
	if desc, err := pebble.Peek(dir, g.FS); err == nil && desc.Exists { // else there is none in use
		inUse, _ := manifestNumber(g.FS, desc.ManifestFilename)
		if seals, err := readSeals(g.FS, s.path); err == nil && seals[0].number == inUse {
			s.slot = 1
		}
	}
	return s
}

// readSeals returns what the slots hold; one that seals nothing is zero.
func readSeals(f vfs.FS, path string) (seals [sealSlots]seal, err error) {
	text, err := readAll(f, path)
	for i := range seals {
		if s, ok := parseSeal(text[min(i*sealSlot, len(text)):]); ok {
			seals[i] = s
		}
	}
	return seals, err
}

// Write counts what it is given: a vfs.File, unlike an io.Writer, may change p. A write that fails freezes the store, and
// then nothing is sealed any more.
func (f *sealedFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now.length += uint64(len(p))
	f.now.sum = crc32.Update(f.now.sum, castagnoli, p)
	return f.File.Write(p)
}

func (f *sealedFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.File.Sync(); err != nil || f.g.isFrozen() {
		return err
	}
	return f.g.change(func() error { return writeSeal(f.g, f.path, f.slot, f.now) })
}

func (f *sealedFile) SyncData() error { return f.Sync() }

// writeSeal puts a seal into its slot, on disk.
func writeSeal(g *guardFS, path string, slot int64, s seal) error {
	file, err := g.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err = g.private(path); err == nil {
		_, err = file.WriteAt(s.encode(), slot*sealSlot)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// checkSeal reports damage if the manifest in use does not begin with what was sealed of it.
func checkSeal(f vfs.FS, path string) error {
	desc, err := pebble.Peek(path, f)
	if err != nil || !desc.Exists {
		return err
	}
	number, ok := manifestNumber(f, desc.ManifestFilename)
	if !ok {
		return fmt.Errorf("%w: the name of its manifest is %q", errEncoding, desc.ManifestFilename)
	}
	seals, err := readSeals(f, f.PathJoin(path, sealName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	i := slices.IndexFunc(seals[:], func(s seal) bool { return s.number == number })
	if i < 0 {
		return nil // an older version made it, or the seal is torn
	}
	s := seals[i]
	manifest, err := readAll(f, desc.ManifestFilename)
	switch {
	case err != nil:
		return err
	case uint64(len(manifest)) < s.length:
		return fmt.Errorf("%w: its manifest has %d bytes of %d", errEncoding, len(manifest), s.length)
	case crc32.Checksum(manifest[:s.length], castagnoli) != s.sum:
		return fmt.Errorf("%w: its manifest has another checksum", errEncoding)
	}
	return nil
}

func readAll(f vfs.FS, path string) ([]byte, error) {
	file, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(file)
	return slices.Clip(b), errors.Join(err, file.Close())
}
