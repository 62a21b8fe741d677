package nulls3

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// chunked reads a body in S3's streaming encoding (Amazon S3 API Reference, "Signature Calculations for the Authorization
// Header: Transferring Payload in Multiple Chunks"): "hex-size;chunk-signature=…", CR LF, bytes, CR LF, until a size of 0,
// with or without trailers behind that. Signatures are not looked at.
type chunked struct {
	in   *bufio.Reader
	left int64 // of the chunk at hand
	err  error
}

func newChunked(body io.Reader) *chunked { return &chunked{in: bufio.NewReaderSize(body, 64<<10)} }

// Read implements [io.Reader].
func (c *chunked) Read(p []byte) (int, error) {
	if c.err == nil && c.left == 0 {
		c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && c.left > 0:
		c.err = io.ErrUnexpectedEOF
	case err != nil && !errors.Is(err, io.EOF):
		c.err = err
	case c.left == 0:
		_, c.err = c.line() // the end of the chunk's bytes
	}
	return n, nil
}

// next reads the line before a chunk; io.EOF behind the last one.
func (c *chunked) next() error {
	text, err := c.line()
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(text, ";")
	c.left, err = strconv.ParseInt(size, 16, 64)
	switch {
	case err != nil || c.left < 0:
		return fmt.Errorf("%q is no size of a chunk", size)
	case c.left > 0:
		return nil
	}
	if _, err := io.Copy(io.Discard, c.in); err != nil { // trailers
		return err
	}
	return io.EOF
}

func (c *chunked) line() (string, error) {
	text, err := c.in.ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimRight(text, "\r\n"), err
}
