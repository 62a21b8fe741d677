package service

import (
	"net"
	"os"
	"strings"
)

// Ready tells the service manager that the service is up: from now on others may rely on it, and "start" returns. It
// does nothing where nobody asked to be told. It may be called more than once and from any goroutine, as Stopping and Say.
func Ready() error { return notify("READY=1") }

// Stopping tells the service manager that the service has begun to stop by itself.
func Stopping() error { return notify("STOPPING=1") }

// Say sets the one line that "status" shows about the service.
func Say(line string) error { return notify("STATUS=" + strings.ReplaceAll(line, "\n", " ")) }

// notify sends one message as sd_notify(3) describes: a datagram to the socket that NOTIFY_SOCKET names.
func notify(message string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	// A leading @ stands for the NUL of an abstract socket; net writes it the same way.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(message))
	if closeErr := conn.Close(); err == nil {
		err = closeErr
	}
	return err
}
