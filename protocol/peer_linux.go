package protocol

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
)

// canTellUsers says that tcpUID works on this system.
const canTellUsers = true

// lookTimes is how often the tables are read for a connection that is not found: one reading is not a snapshot, and
// may miss a row while others come and go. A guess.
const lookTimes = 3

// tcpUID finds the user that owns the socket whose own address is from and whose peer is to. It asks the kernel for
// exactly this socket; where that is not possible it reads the tables of all sockets, which takes longer the more there
// are. User 0 is believed at the second look only, see tablesUID.
func tcpUID(from, to netip.AddrPort) (uint32, error) {
	uid, found, err := diagUID(from, to)
	if err == nil && found && uid == 0 {
		uid, found, err = diagUID(from, to)
	}
	switch {
	case err != nil:
		return procUID(from, to)
	case !found:
		return 0, errNoUID
	}
	return uid, nil
}

// procUID is tcpUID by /proc/net/tcp and tcp6.
func procUID(from, to netip.AddrPort) (uint32, error) {
	return tablesUID(from, to, func() ([]io.ReadCloser, error) {
		var files []io.ReadCloser
		for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
			f, err := os.Open(name)
			if err == nil {
				files = append(files, f)
			} else if !os.IsNotExist(err) || name == "/proc/net/tcp" {
				for _, f := range files {
					f.Close()
				}
				return nil, err
			}
		}
		return files, nil
	})
}

// tablesUID is tcpUID over tables that open returns. An answer of user 0 is believed only if a second look gives the
// same row: the kernel shows a socket without a process as user 0 and inode 0, and one that is being closed may be
// caught between the two fields.
func tablesUID(from, to netip.AddrPort, open func() ([]io.ReadCloser, error)) (uint32, error) {
	var last tcpRow
	seen := false
	for range lookTimes {
		row, found, err := lookUp(from, to, open)
		if err != nil {
			return 0, err
		}
		if !found {
			continue
		}
		if row.uid != 0 || seen && row == last {
			return row.uid, nil
		}
		last, seen = row, true
	}
	return 0, errNoUID
}

// tcpRow is what a row of the table says about its owner.
type tcpRow struct {
	uid   uint32
	inode uint64
}

func lookUp(from, to netip.AddrPort, open func() ([]io.ReadCloser, error)) (tcpRow, bool, error) {
	files, err := open()
	if err != nil {
		return tcpRow{}, false, fmt.Errorf("the client's user cannot be looked up: %w", err)
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	// A client may have an IPv6 socket and still speak IPv4; its row then shows mapped addresses.
	forms := [][2]string{{procAddr(from, false), procAddr(to, false)}, {procAddr(from, true), procAddr(to, true)}}
	for _, f := range files {
		row, found, err := scanTable(f, forms)
		if err != nil || found {
			return row, found, err
		}
	}
	return tcpRow{}, false, nil
}

// Fields of a row (proc_pid_net(5)): sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode.
const (
	colLocal, colRemote, colUID, colInode = 1, 2, 7, 9
)

func scanTable(r io.Reader, forms [][2]string) (tcpRow, bool, error) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		for _, form := range forms {
			if !bytes.Contains(sc.Bytes(), []byte(form[0])) {
				continue
			}
			col := bytes.Fields(sc.Bytes())
			if len(col) <= colInode || string(col[colLocal]) != form[0] || string(col[colRemote]) != form[1] {
				continue
			}
			uid, err1 := strconv.ParseUint(string(col[colUID]), 10, 32)
			inode, err2 := strconv.ParseUint(string(col[colInode]), 10, 64)
			if err1 == nil && err2 == nil && inode != 0 { // inode 0: no process holds it any more, and the user means nothing
				return tcpRow{uint32(uid), inode}, true, nil
			}
		}
	}
	if err := sc.Err(); err != nil {
		return tcpRow{}, false, fmt.Errorf("the client's user cannot be looked up: %w", err)
	}
	return tcpRow{}, false, nil
}

// procAddr writes an address as /proc/net/tcp (IPv4) or tcp6 does: 32-bit words as the machine reads them, in hex.
func procAddr(a netip.AddrPort, six bool) string {
	ip := a.Addr().Unmap()
	var raw []byte
	if ip.Is4() && !six {
		four := ip.As4()
		raw = four[:]
	} else {
		sixteen := ip.As16()
		raw = sixteen[:]
	}
	var b []byte
	for ; len(raw) > 0; raw = raw[4:] {
		b = fmt.Appendf(b, "%08X", binary.NativeEndian.Uint32(raw))
	}
	return string(fmt.Appendf(b, ":%04X", a.Port()))
}

// unixPeer returns the process that connected, with its user and groups then.
func unixPeer(c net.Conn) (p process, ok bool) {
	sc, is := c.(syscall.Conn)
	if !is {
		return p, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return p, false
	}
	err = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			p.pid, p.uid, ok = cred.Pid, cred.Uid, true
			p.gids, p.groups = peerGroups(int(fd))
			p.gids = append(p.gids, cred.Gid)
		}
	})
	return p, ok && err == nil
}
