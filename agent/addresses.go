package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"s3apu/protocol"
	"s3apu/queue"
)

// openAddresses listens where other programs may listen too, and looks whether somebody answers on the unix socket. It
// comes before anything is made on disk, so that an address that is taken leaves no trace.
func (a *Agent) openAddresses(context.Context) error {
	var err error
	if a.peers, err = a.cfg.peers(); err != nil {
		return err
	}
	if a.guests, err = a.cfg.guestRule(); err != nil {
		return err
	}
	if err := protocol.CheckUnix(a.cfg.SocketPath()); err != nil { //nolint:contextcheck // it waits two seconds at the most
		return err
	}
	if addr := a.cfg.Socket.TCP; addr != "" {
		l, err := protocol.Listen("tcp", addr, a.peers) //nolint:contextcheck // it waits for nobody
		if err != nil {
			return err
		}
		a.listeners = append(a.listeners, l)
	}
	if addr := a.cfg.HTTP.Listen; addr != "" {
		if a.page, err = listenPage(addr); err != nil {
			return err
		}
	}
	return nil
}

// openSocket makes the unix socket, which by default lies in the state_dir; if the disk there refuses, Run does it later.
func (a *Agent) openSocket(context.Context) error {
	l, err := protocol.Listen("unix", a.cfg.SocketPath(), a.peers) //nolint:contextcheck // it waits two seconds at the most
	switch {
	case err == nil:
		a.listeners = append(a.listeners, l)
	case queue.Refusal(err) || a.queue.Err() != nil && errors.Is(err, fs.ErrNotExist):
		a.late = true
	default:
		return err
	}
	return nil
}

func listenPage(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	e := &protocol.Error{Op: "listen for /healthz", Object: addr, Kind: protocol.KindUsage, Err: err,
		Hint: `choose another [http] listen, or "" for none`}
	if errors.Is(err, syscall.EADDRINUSE) {
		e.Kind, e.Hint = protocol.KindLocked, `another agent or program listens there; stop it, choose another [http] listen, or "" for none`
	}
	return nil, e
}

// Finding is one thing that [Config.CheckAddresses] looked at.
type Finding struct {
	What string
	Err  error // why the agent could not have it; nil: it could, or it is the running agent that has it
}

// sameStart is how far two answers about the start of one agent may differ. A guess: the time between the two questions.
const sameStart = 2 * time.Second

// askTimeout bounds a question to whoever holds an address. A guess: it is on this machine.
const askTimeout = 5 * time.Second

// CheckAddresses tries every address of the agent and leaves nothing behind. running says that an agent works with the
// state_dir: then an address that this agent holds is as it should be.
func (c *Config) CheckAddresses(ctx context.Context, running bool) []Finding {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	peers, err := c.peers()
	if err != nil {
		return []Finding{{"[socket]", err}}
	}
	var began time.Time
	if running {
		began = askBegan(ctx, "unix", c.SocketPath(), peers.Token)
	}
	found := []Finding{c.checkUnix(running)} //nolint:contextcheck // it waits two seconds at the most
	if addr := c.Socket.TCP; addr != "" {
		l, err := protocol.Listen("tcp", addr, peers) //nolint:contextcheck // it waits for nobody
		if err == nil {
			err = l.Close()
		}
		at := func() time.Time { return askBegan(ctx, "tcp", addr, peers.Token) }
		found = append(found, finding("[socket] tcp "+addr, err, began, at))
	}
	if addr := c.HTTP.Listen; addr != "" {
		l, err := listenPage(addr)
		if err == nil {
			err = l.Close()
		}
		found = append(found, finding("[http] listen "+addr, err, began, func() time.Time { return askPage(ctx, addr) }))
	}
	return found
}

// finding judges an address that could not be had: it is well if the agent that began then has it, or may have it.
func finding(what string, err error, began time.Time, at func() time.Time) Finding {
	if protocol.KindOf(err) != protocol.KindLocked || began.IsZero() {
		return Finding{what, err}
	}
	if other := at(); !other.IsZero() && other.Sub(began).Abs() > sameStart {
		return Finding{what, err}
	}
	return Finding{what + " (the running agent has it)", nil}
}

// checkUnix looks at the unix socket. A folder that the agent makes itself may be missing.
func (c *Config) checkUnix(running bool) Finding {
	path := c.SocketPath()
	what := "[socket] unix " + path
	err := protocol.CheckUnix(path)
	if running && protocol.KindOf(err) == protocol.KindLocked {
		return Finding{what + " (the running agent has it)", nil}
	}
	if dir := filepath.Dir(path); err == nil && !within(c.StateDir, dir) {
		if err = tryFolder(dir, false); err != nil {
			err = &protocol.Error{Op: "listen", Object: path, Kind: protocol.KindLocal, Err: err,
				Hint: "make the socket's folder, writable for the agent's user, or choose another"}
		}
	}
	return Finding{what, err}
}

// askBegan asks an agent when it began; zero: there is none that says so.
func askBegan(ctx context.Context, network, addr, token string) time.Time {
	client, err := protocol.Dial(ctx, network, addr, token)
	if err != nil {
		return time.Time{}
	}
	defer func() { _ = client.Close() }() // nothing is under way on it
	info, err := client.Info(ctx)
	if err != nil {
		return time.Time{}
	}
	return time.Now().Add(-info.Uptime)
}

// askPage asks /healthz when its agent began; zero: nothing there says so, as while another program has the address.
func askPage(ctx context.Context, addr string) time.Time {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", nil)
	if err != nil {
		return time.Time{}
	}
	stranger := time.Unix(0, 0)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return stranger
	}
	defer func() { _ = resp.Body.Close() }() // only read
	var h Health
	if json.NewDecoder(resp.Body).Decode(&h) != nil || h.Uptime == 0 {
		return stranger
	}
	return time.Now().Add(-time.Duration(h.Uptime * float64(time.Second)))
}

// CheckLogFolder reports why lines could not be written below [log] folder, or nil. It makes no folder.
func (c *Config) CheckLogFolder() error {
	if c.Log.Folder == "" {
		return nil
	}
	if err := tryFolder(c.Log.Folder, true); err != nil {
		return logError(c.Log.Folder, err)
	}
	return nil
}

// tryFolder writes and removes a small file in the folder or, where it may be missing, in the nearest one above it.
func tryFolder(dir string, mayMiss bool) error {
	st, err := os.Stat(dir)
	for mayMiss && errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
		st, err = os.Stat(dir)
	}
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	f, err := os.CreateTemp(dir, ".s3apu-check-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, tryBytes))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// tryBytes is enough to find a disk that is full: a block of every usual file system.
const tryBytes = 4 << 10
