//go:build linux

package e2e

import (
	"bufio"
	"encoding/base64"
	"net"
	"strings"
	"testing"
	"time"
)

// apuClient speaks S3 APU's protocol of 2010 and nothing else, in plain sockets: it shares no code with ours.
type apuClient struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (b *box) dial(t *testing.T) *apuClient {
	t.Helper()
	conn, err := net.Dial("unix", b.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &apuClient{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// raw sends bytes as they are and returns the decoded answer.
func (c *apuClient) raw(line string) string {
	c.t.Helper()
	if err := c.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write([]byte(line)); err != nil {
		c.t.Fatal(err)
	}
	answer, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(answer, "\n"))
	if err != nil {
		c.t.Fatalf("the answer %q is not base64: %v", answer, err)
	}
	return string(text)
}

// ask sends one instruction and returns the answer.
func (c *apuClient) ask(instruction string) string {
	c.t.Helper()
	return c.raw(base64.StdEncoding.EncodeToString([]byte(instruction)) + "\n")
}
