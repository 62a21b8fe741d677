package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"s3apu/internal/access"
	"s3apu/internal/beneath"
	"s3apu/protocol"
)

// source is a local file, or a link that is to be stored, in the state in which it is to be sent.
type source struct {
	*spot
	f      *beneath.File // nil: a link
	target string        // of a link
	state  protocol.Stat

	growing bool                    // it is being written: the first state.Size bytes are sent, as they were in one moment
	atRest  func(syscall.Conn) bool // may be nil
}

// regular returns nil if s is the state of a regular file.
func regular(path string, s protocol.Stat) *protocol.Error {
	if s.IsFile() {
		return nil
	}
	what := "a device, a socket or a FIFO"
	switch s.Mode & protocol.ModeType {
	case protocol.ModeFolder:
		what = "a folder"
	case protocol.ModeLink:
		what = "a symbolic link"
	}
	return &protocol.Error{Op: "read", Object: path, Kind: protocol.KindItem, Err: reason("it is " + what + ", not a file")}
}

// open opens what lstat has just found at a spot, in state st, waits until its times can be trusted, and makes sure that it is still
// that and that nobody is writing it; for a guest also, that the guest could have opened just this file. With growing it is one that
// is being written: its state is that in the moment of opening. The spot must stay open as long as the source.
func (c *Config) open(ctx context.Context, at *spot, st protocol.Stat, growing bool, guest protocol.Guest) (*source, *protocol.Error) {
	src := &source{spot: at, state: st, growing: growing, atRest: c.AtRest}
	now := st
	var err error
	if st.IsLink() {
		src.target, err = at.dir.Readlink(at.name)
	} else {
		src.f, now, err = at.dir.OpenSeen(at.name, st)
	}
	if err != nil {
		return nil, fileError(at.path, err)
	}
	if e := src.opened(ctx, now, guest); e != nil {
		src.close()
		return nil, e
	}
	return src, nil
}

// opened says whether the file that was opened, in this state, is what was asked for, and may be read.
func (s *source) opened(ctx context.Context, now protocol.Stat, guest protocol.Guest) *protocol.Error {
	if err := mayHave(guest, s.f); err != nil {
		return &protocol.Error{Op: "read", Object: s.path, Kind: protocol.KindItem, Err: err,
			Hint: "let the client that asked for it read the file and search its folders, or have it show the token"}
	}
	if s.growing {
		s.state = now
	}
	waited, e := s.trust(ctx)
	if waited && e == nil {
		now, e = s.current()
	}
	if e != nil {
		return e
	}
	return s.same(now)
}

// mayHave reports why a guest could not have read the open file by itself, or nil; there is none of a link. Nobody in
// particular may have all.
func mayHave(guest protocol.Guest, f *beneath.File) error {
	switch {
	case guest == "":
		return nil
	case f == nil:
		return reason("it is a symbolic link")
	}
	uid, gids, known, err := guest.User()
	if err != nil {
		return err
	}
	return access.User{UID: uid, Groups: gids, GroupsKnown: known}.MayRead(f)
}

// close closes the file; the spot is its owner's.
func (s *source) close() {
	if s.f != nil {
		_ = s.f.Close() // nothing was written to it
	}
}

// size is how many bytes are sent.
func (s *source) size() int64 {
	if s.f == nil {
		return int64(len(s.target)) // some file systems give their links no size
	}
	return s.state.Size
}

// trust waits out the step of the clock in which the file last changed, and reports whether it had to.
func (s *source) trust(ctx context.Context) (waited bool, e *protocol.Error) {
	left := s.state.Trustworthy(time.Now())
	if left <= 0 {
		return false, nil
	}
	if err := sleep(ctx, left); err != nil {
		return true, &protocol.Error{Op: "read", Object: s.path, Kind: protocol.KindTransient, Err: err}
	}
	return true, nil
}

// current returns the state of the open file; of a link the one that was begun with.
func (s *source) current() (protocol.Stat, *protocol.Error) {
	if s.f == nil {
		return s.state, nil
	}
	now, err := beneath.Fstat(s.f)
	if err != nil {
		return now, fileError(s.path, err)
	}
	return now, nil
}

// unchanged returns nil if the open file and the file of that name are both still in the state that was begun with,
// and at rest. The name is looked at in the folder that was opened: that the folder was renamed is another hint's matter.
// One that grows must be the same file and not have become shorter; whether its bytes stayed what they are is for two
// readings to tell (see [job.content]).
func (s *source) unchanged() *protocol.Error {
	now, e := s.lstat()                           // of the same device and number it is the open file
	if e == nil && now.Ino == 0 && s.still(now) { // a system that numbers no files: it may be another one
		now, e = s.current()
	}
	switch {
	case e == nil:
		return s.same(now)
	case e.Kind == protocol.KindVanished:
		return s.changed()
	}
	return e
}

// same returns nil if the open file, in this state, is still in the one that was begun with, and at rest.
func (s *source) same(now protocol.Stat) *protocol.Error {
	if !s.still(now) {
		return s.changed()
	}
	if s.f != nil && !s.growing && s.atRest != nil && !s.atRest(s.f) {
		return &protocol.Error{Op: "read", Object: s.path, Kind: protocol.KindBusy, Err: reason("it is being written")}
	}
	return nil
}

// still reports whether now is the state that was begun with, or one that it can have grown to.
func (s *source) still(now protocol.Stat) bool {
	if s.growing {
		return now.Dev == s.state.Dev && now.Ino == s.state.Ino && now.IsFile() && now.Size >= s.state.Size
	}
	return now == s.state
}

func (s *source) changed() *protocol.Error {
	return &protocol.Error{Op: "read", Object: s.path, Kind: protocol.KindChanged, Err: reason("it changed while it was read")}
}

// readError classifies an error of reading the open file.
func (s *source) readError(err error) *protocol.Error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.changed() // it is shorter than it was
	}
	return fileError(s.path, err)
}

// fileError classifies an error of the file system about a source.
func fileError(path string, err error) *protocol.Error {
	e := &protocol.Error{Op: "read", Object: path, Kind: protocol.KindLocal, Err: err}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		e.Err = pe.Err // the path is named already
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		e.Kind = protocol.KindVanished
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Hint = protocol.KindItem, "let the agent's user read the file and search its folders"
	case errors.Is(err, syscall.ELOOP):
		e.Kind, e.Err = protocol.KindItem, fmt.Errorf("a symbolic link is there, or on the way: %w", syscall.ELOOP)
	case errors.Is(err, beneath.ErrOutside):
		e.Kind, e.Hint = protocol.KindItem, "name a file below a watched folder or [socket] allow_sources; a link on the way may lead out of them"
	case errors.Is(err, beneath.ErrLoop), errors.Is(err, beneath.ErrNested), errors.Is(err, beneath.ErrNotRegular):
		e.Kind = protocol.KindItem
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL):
		e.Kind = protocol.KindItem
	}
	return e
}

// guarded is the body of a single PUT: n bytes of a file, of which the last are given out only if the file is still in
// the state in which it was hashed. Once it has found a change it gives nothing more, also not after a Seek.
type guarded struct {
	src *source
	n   int64
	off int64
	err *protocol.Error
}

func (g *guarded) Read(p []byte) (int, error) {
	switch {
	case g.err != nil:
		return 0, g.err
	case g.off >= g.n:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	if left := g.n - g.off; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := g.src.f.ReadAt(p, g.off)
	if n < len(p) { // ReadAt says why
		g.err = g.src.readError(err)
		return 0, g.err
	}
	if g.off+int64(n) == g.n {
		if g.err = g.src.unchanged(); g.err != nil {
			return 0, g.err
		}
	}
	g.off += int64(n)
	return n, nil
}

// Seek is that of [io.Seeker] and touches the offset only.
func (g *guarded) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += g.off
	case io.SeekEnd:
		offset += g.n
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of the file")
	}
	g.off = offset
	return offset, nil
}
