package protocol

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// socketMode is the mode of a unix socket's file: its user and group may connect.
const socketMode fs.FileMode = 0o660

// answerTime is how long a unix socket that exists is given to answer. A guess: it is on this machine.
const answerTime = 2 * time.Second

// Listen opens the agent's socket: network "unix" with a path, or "tcp" with "host:port".
//
// A unix socket gets mode 0660 and never had a wider one. A file that a dead process left there is removed if it is a
// socket and nobody answers on it; if somebody does, the error has KindLocked. Two that start in the same instant must
// be kept apart by their state_dir. Close removes the file, unless it has become somebody else's.
//
// A TCP address must lie on the loopback unless peers has a Token, and where the system cannot tell the users of
// clients a token is needed there too; else the error has KindUsage and a hint. The host is resolved once.
func Listen(network, addr string, peers Peers) (net.Listener, error) {
	switch network {
	case "unix":
		return listenUnix(addr)
	case "tcp", "tcp4", "tcp6":
		return listenTCP(network, addr, peers)
	}
	return nil, &Error{Op: "listen", Object: network + " " + addr, Kind: KindUsage, Err: errors.New("the network is neither unix nor tcp")}
}

func listenTCP(network, addr string, peers Peers) (net.Listener, error) {
	usage := func(text, hint string) error {
		return &Error{Op: "listen", Object: addr, Kind: KindUsage, Err: errors.New(text), Hint: hint}
	}
	at, err := net.ResolveTCPAddr(network, addr)
	if err != nil {
		return nil, &Error{Op: "listen", Object: addr, Kind: KindUsage, Err: err, Hint: `write the address as "127.0.0.1:19998"`}
	}
	if peers.Token == "" {
		if !at.IP.IsLoopback() {
			return nil, usage("the address can be reached from other machines and there is no token", "listen on 127.0.0.1, or set socket.token_file")
		}
		if !canTellUsers && peers.UID == nil {
			return nil, usage("this system cannot tell which user a client is, and there is no token", "set socket.token_file, or use a unix socket")
		}
	}
	ln, err := net.ListenTCP(network, at)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, &Error{Op: "listen", Object: addr, Kind: KindUsage, Err: err, Hint: "ports below 1024 take a right of their own; choose another"}
		}
		return nil, listenError(addr, err)
	}
	return ln, nil
}

// listenError explains what the system said.
func listenError(addr string, err error) error {
	e := &Error{Op: "listen", Object: addr, Kind: KindUsage, Err: err}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Kind, e.Hint = KindLocked, "another agent or program listens there; stop it or choose another address"
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "let the agent's user write to the socket's folder, or choose another address"
	case errors.Is(err, fs.ErrNotExist):
		e.Hint = "make the socket's folder first"
	case errors.Is(err, syscall.EINVAL):
		e.Hint = "the path of a unix socket has at most 107 bytes (unix(7))"
	}
	return e
}

// unixListener removes its file when it is closed, if the file is still its own.
type unixListener struct {
	*net.UnixListener
	path string
	file fs.FileInfo // as it was when the socket was made
}

func listenUnix(path string) (net.Listener, error) {
	if err := checkUnixPath(path); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := bindUnix(path)
	if err != nil {
		return nil, listenError(path, err)
	}
	ln.SetUnlinkOnClose(false)
	l := &unixListener{UnixListener: ln, path: path}
	if l.file, err = os.Lstat(path); err == nil {
		err = protect(path)
	}
	if err != nil {
		return nil, errors.Join(listenError(path, err), l.Close())
	}
	return l, nil
}

// Close ends the listener and removes its file.
func (l *unixListener) Close() error {
	// The file goes first: a client that comes now finds no socket, instead of one that nobody answers on.
	if st, err := os.Lstat(l.path); err == nil && l.file != nil && os.SameFile(st, l.file) {
		if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, l.UnixListener.Close())
		}
	}
	return l.UnixListener.Close()
}

// CheckUnix reports why [Listen] could not make a unix socket at path, as far as that can be told without touching the
// disk: nil if there is none, or one that a dead process left.
func CheckUnix(path string) error {
	if err := checkUnixPath(path); err != nil {
		return err
	}
	_, err := findStale(path)
	return err
}

func checkUnixPath(path string) error {
	e := &Error{Op: "listen", Object: path, Kind: KindUsage}
	switch most := len(syscall.RawSockaddrUnix{}.Path) - 1; {
	case path == "" || path[0] == '@':
		e.Err, e.Hint = errors.New("a unix socket needs a path"), "abstract sockets have no mode that could protect them"
	case len(path) > most:
		e.Err = fmt.Errorf("the path has %d bytes, and that of a unix socket at most %d", len(path), most)
		e.Hint = "choose a shorter [socket] unix"
	default:
		return nil
	}
	return e
}

// findStale returns the socket's file if a dead process left it, nil if there is none or it cannot be looked at, and an
// error if somebody answers there or it is no socket.
func findStale(path string) (fs.FileInfo, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, nil // making it will tell
	}
	if !isSocket(before) {
		return nil, &Error{Op: "listen", Object: path, Kind: KindUsage, Err: errors.New("there is a file in the socket's place that is not a socket"), Hint: "move it away or choose another path"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return nil, errors.Join(&Error{Op: "listen", Object: path, Kind: KindLocked, Err: errors.New("another process answers on the socket"), Hint: "is the agent already running? stop it, or choose another state_dir or [socket] unix"}, c.Close())
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case !refusedBySocket(err):
		return nil, &Error{Op: "listen", Object: path, Kind: KindLocked, Err: err, Hint: "it cannot be told whether another agent uses the socket; remove it if none does"}
	}
	return before, nil
}

// removeStale removes the socket of a process that is gone.
func removeStale(path string) error {
	before, err := findStale(path)
	if before == nil || err != nil {
		return err
	}
	now, err := os.Lstat(path)
	if err == nil && os.SameFile(before, now) {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return listenError(path, err)
	}
	return nil
}
