package protocol

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// reservedPlaces are the last ones of MaxClients, for root and the agent's own user: whoever fills the socket must
	// not keep its owner from asking what goes on. At most an eighth of all. A guess.
	reservedPlaces = 128

	// silentAfter is how long a client must have been silent before it may have to make room. A guess: longer than any
	// client needs between two requests of one piece of work.
	silentAfter = 30 * time.Second

	// maxJudged is how many new connections are looked up at the same time; the others wait in the kernel. A guess.
	maxJudged = 16

	// kernelBuffer is what a connection may hold in the kernel, in bytes for each direction: with 1,024 connections at
	// most 256 MiB of the machine, where the kernel's own choice could grow to 6 MiB each (net.ipv4.tcp_rmem).
	kernelBuffer = 128 << 10

	// A machine that has vanished is noticed after keepaliveIdle + keepaliveCount*keepaliveEvery, and data that nobody
	// acknowledges ends the connection after userTimeout (tcp(7)). Guesses.
	keepaliveIdle  = 15 * time.Second
	keepaliveEvery = 10 * time.Second
	keepaliveCount = 3
	userTimeout    = 45 * time.Second
)

// ticks is a time that nobody can set, in nanoseconds from some moment on: a step of the wall's clock must make nobody
// look silent.
func ticks() int64 { return int64(time.Since(anyMoment)) }

var anyMoment = time.Now()

// door keeps the places of a server. The zero value is an empty house. It may be used by many goroutines.
type door struct {
	mu sync.Mutex
	in map[*session]struct{}
}

// presence is what the door wants to know about a session; its own goroutine writes it.
type presence struct {
	heard atomic.Int64 // when the last bytes came, by [ticks]
	quiet atomic.Bool  // it waits for the client's next line, and for nothing else
}

// enter takes a place for se, of most. If there is none left for somebody like it, the one silent longest goes. It
// returns false if nobody has been silent long enough.
func (d *door) enter(se *session, most int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	room := most
	if !se.ours {
		room -= min(reservedPlaces, most/8)
	}
	if len(d.in) >= room && !d.makeRoom(se.ours) {
		return false
	}
	if d.in == nil {
		d.in = make(map[*session]struct{})
	}
	d.in[se] = struct{}{}
	return true
}

// leave gives the place back. A session that had to make room has none any more.
func (d *door) leave(se *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.in, se)
}

func (d *door) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.in)
}

// relieve frees a descriptor, if a client has been silent for so long that it can be asked to come again.
func (d *door) relieve() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.makeRoom(true)
}

// makeRoom cuts the connection that has been silent longest; mu is held. Who is not ours cannot drive ours away, and a
// client that waits for an answer, as to get and lse, is not silent.
func (d *door) makeRoom(ours bool) bool {
	var victim *session
	longest := ticks() - int64(silentAfter)
	for se := range d.in {
		if heard := se.heard.Load(); se.quiet.Load() && heard <= longest && (ours || !se.ours) {
			victim, longest = se, heard
		}
	}
	if victim == nil {
		return false
	}
	delete(d.in, victim)
	victim.conn.Close()
	return true
}

// tune sets what the kernel may hold for a connection, and when it gives a vanished peer up. Where a setting is refused
// the connection works as the system has it.
func tune(c net.Conn) {
	if b, ok := c.(interface {
		SetReadBuffer(bytes int) error
		SetWriteBuffer(bytes int) error
	}); ok {
		b.SetReadBuffer(kernelBuffer)  //nolint:errcheck // see above
		b.SetWriteBuffer(kernelBuffer) //nolint:errcheck // see above
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.SetKeepAliveConfig(net.KeepAliveConfig{ //nolint:errcheck // see above
			Enable: true, Idle: keepaliveIdle, Interval: keepaliveEvery, Count: keepaliveCount,
		})
		limitUnacknowledged(t)
	}
}

// owns reports whether the user is root or the agent's own. Getuid is -1 where there are no user ids.
func owns(uid uint32) bool {
	return uid == 0 || int64(uid) == int64(os.Getuid()) || int64(uid) == int64(os.Geteuid())
}
