package protocol

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What the server answered, for errors.Is.
var (
	ErrInvalid = errors.New("the agent answered invalid: the request can never be carried out")
	ErrFail    = errors.New("the agent answered fail: the request may not have been carried out")
	ErrGone    = errors.New("the lease has ended")
)

const (
	// maxAnswer is the longest line a client reads, in bytes. A guess: far above what the server sends.
	maxAnswer = 1 << 20

	// window is how many requests a client sends ahead of their answers. A guess: one group commit, so that their
	// answers fit into the buffers on the way.
	window = maxBatch
)

// Client speaks to the agent's socket. Its methods may be called at the same time and take turns: while Get or Lease
// waits, the others wait too. When a call ends with an error that is neither [ErrInvalid], [ErrFail] nor [ErrGone], or
// its context ends, answers may be missing; the client is then of no more use than to be closed.
type Client struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer

	mu     sync.Mutex
	broken error // why it cannot be used any more
}

// Dial connects to the agent: network "unix" with a path, or "tcp" with "host:port". The token may be empty.
func Dial(ctx context.Context, network, addr, token string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, dialError(addr, err)
	}
	c := &Client{addr: addr, conn: conn, in: bufio.NewReader(conn), out: bufio.NewWriter(conn)}
	// Said in any case: the answer tells whether the agent lets us in at all.
	answer, err := c.ask(ctx, "connect", "tok|"+escape(token))
	if err == nil && answer == answerOK {
		return c, nil
	}
	conn.Close()
	switch {
	case errors.Is(err, ErrInvalid):
		return nil, &Error{Op: "connect to the agent", Object: addr, Kind: KindUsage, Err: errors.New("the agent does not let this user in"),
			Hint: "run as root or as the agent's user, add yourself to socket.allow_users, or give the token of socket.token_file"}
	case errors.Is(err, ErrFail):
		return nil, &Error{Op: "connect to the agent", Object: addr, Kind: KindTransient, Err: errors.New("the agent serves too many clients"), Hint: "try again later"}
	case err == nil:
		err = errors.New("what listens there is not the agent")
	}
	return nil, &Error{Op: "connect to the agent", Object: addr, Kind: KindUnreachable, Err: err}
}

func dialError(addr string, err error) error {
	e := &Error{Op: "connect to the agent", Object: addr, Kind: KindUnreachable, Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		e.Hint = "is the agent running? s3apu-agent status tells"
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Hint = KindUsage, "the socket is open to the agent's user and group only"
	}
	return e
}

// Close ends the connection. It may be called while another call waits, which then fails.
func (c *Client) Close() error {
	if c.mu.TryLock() {
		defer c.mu.Unlock()
		if c.broken == nil {
			c.broken = net.ErrClosed
			c.conn.SetWriteDeadline(time.Now().Add(lingerTime)) //nolint:errcheck // the end is a courtesy
			c.conn.Write([]byte{'\n'})                          //nolint:errcheck // as above
		}
	}
	return c.conn.Close()
}

// Get takes up to n instructions for good, at most 30; it waits up to 10 s for the first and then returns none. If one
// of them cannot be read, the others are returned with the error.
func (c *Client) Get(ctx context.Context, n int) ([]Instruction, error) {
	answer, err := c.ask(ctx, "get work", "get|"+strconv.Itoa(n))
	if err != nil || answer == "" {
		return nil, err
	}
	var ins []Instruction
	var bad []error
	for item := range strings.SplitSeq(answer, string(itemSep)) {
		in, err := DecodeInstruction(item)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		ins = append(ins, in)
	}
	return ins, errors.Join(bad...)
}

// Leased is an instruction in the hand of a client.
type Leased struct {
	ID string // for Ack and Nak
	Instruction
}

// Lease takes up to n instructions, at most 30, for the time hold, which is rounded up to whole seconds and is at most
// 12 h. It waits like Get. What is neither acknowledged nor given back in time is handed out again. Items that cannot
// be read are left to that, and reported beside the others.
func (c *Client) Lease(ctx context.Context, n int, hold time.Duration) ([]Leased, error) {
	seconds := (hold + time.Second - 1) / time.Second
	answer, err := c.ask(ctx, "lease work", fmt.Sprintf("lse|%d|%d", n, seconds))
	if err != nil || answer == "" {
		return nil, err
	}
	var ls []Leased
	var bad []error
	for item := range strings.SplitSeq(answer, string(itemSep)) {
		id, text, _ := strings.Cut(item, string(idSep))
		in, err := DecodeInstruction(text)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		ls = append(ls, Leased{ID: id, Instruction: in})
	}
	return ls, errors.Join(bad...)
}

// Ack says that a leased instruction has been carried out. [ErrGone]: the lease had ended, and somebody else carries
// it out again.
func (c *Client) Ack(ctx context.Context, id string) error {
	return c.end(ctx, "acknowledge", "ack|"+id)
}

// Nak gives a leased instruction back because of reason; it is handed out again later. [ErrGone]: the lease had ended.
func (c *Client) Nak(ctx context.Context, id, reason string) error {
	return c.end(ctx, "give back", "nak|"+id+string(fieldSep)+escape(clipReason(reason)))
}

func (c *Client) end(ctx context.Context, op, request string) error {
	answer, err := c.ask(ctx, op, request)
	switch {
	case err != nil || answer == answerOK:
		return err
	case answer == answerGone:
		return &Error{Op: op, Object: c.addr, Kind: KindItem, Err: ErrGone}
	}
	return c.strange(op, answer)
}

// Info returns the state of the queue.
func (c *Client) Info(ctx context.Context) (Info, error) {
	answer, err := c.ask(ctx, "ask for the status", "inf")
	if err != nil {
		return Info{}, err
	}
	return DecodeInfo(answer)
}

// Failed lists up to n failed instructions in key order behind after, whose zero value is the start. It may return
// fewer than there are: ask again behind the last one, until there are none.
func (c *Client) Failed(ctx context.Context, after ObjectID, n int) ([]Failure, error) {
	return c.list(ctx, "list failures", "fld", after, n)
}

// Held lists up to n deletes that wait for a person; see [Client.Failed].
func (c *Client) Held(ctx context.Context, after ObjectID, n int) ([]Failure, error) {
	return c.list(ctx, "list held deletes", "hld", after, n)
}

func (c *Client) list(ctx context.Context, op, verb string, after ObjectID, n int) ([]Failure, error) {
	text := ""
	if after != (ObjectID{}) {
		text = encodeID(after)
	}
	answer, err := c.ask(ctx, op, fmt.Sprintf("%s|%d|%s", verb, n, text))
	if err != nil || answer == "" {
		return nil, err
	}
	var list []Failure
	for item := range strings.SplitSeq(answer, string(itemSep)) {
		f, err := decodeFailure(item)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

// Retry makes the named failed instructions due now, or all of them if none is named, and returns how many.
func (c *Client) Retry(ctx context.Context, ids []ObjectID) (int, error) {
	return c.change(ctx, "retry", "rty", ids)
}

// Release lets the named held deletes go, or all of them if none is named, and returns how many.
func (c *Client) Release(ctx context.Context, ids []ObjectID) (int, error) {
	return c.change(ctx, "release", "rel", ids)
}

// Drop forgets the named held deletes, or all of them if none is named, and returns how many. The objects stay.
func (c *Client) Drop(ctx context.Context, ids []ObjectID) (int, error) {
	return c.change(ctx, "drop", "drp", ids)
}

func (c *Client) change(ctx context.Context, op, verb string, ids []ObjectID) (int, error) {
	requests := []string{verb + "|*"}
	if len(ids) > 0 {
		requests = requests[:0]
		for _, id := range ids {
			requests = append(requests, verb+"|"+encodeID(id))
		}
	}
	total := 0
	for _, r := range requests {
		answer, err := c.ask(ctx, op, r)
		if err != nil {
			return total, err
		}
		count, ok := strings.CutPrefix(answer, answerOK+string(fieldSep))
		n, err := strconv.Atoi(count)
		if !ok || err != nil {
			return total, c.strange(op, answer)
		}
		total += n
	}
	return total, nil
}

// ask sends one request and returns the answer; fail and invalid are errors.
func (c *Client) ask(ctx context.Context, op, request string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end, err := c.begin(ctx, op)
	if err != nil {
		return "", err
	}
	var answer string
	err = c.send(request)
	if err == nil {
		err = c.out.Flush()
	}
	if err == nil {
		answer, err = c.receive()
	} else if last, late := c.receive(); late == nil && (last == answerFail || last == answerInvalid) {
		answer, err = last, nil // the server said why it hung up
	}
	if err := end(err); err != nil {
		return "", err
	}
	return answer, c.refusal(op, answer)
}

// refusal is the error of the answers fail and invalid.
func (c *Client) refusal(op, answer string) error {
	switch answer {
	case answerInvalid:
		return &Error{Op: op, Object: c.addr, Kind: KindItem, Err: ErrInvalid, Hint: "the agent's error log says why; some requests are for root, the agent's own user and holders of the token only"}
	case answerFail:
		return &Error{Op: op, Object: c.addr, Kind: KindTransient, Err: ErrFail, Hint: "the agent's error log says why"}
	}
	return nil
}

// begin makes the connection follow ctx until end is called, with what went wrong; end returns the error to report,
// and remembers that the connection cannot be used any more.
func (c *Client) begin(ctx context.Context, op string) (end func(error) error, err error) {
	report := func(err error) error {
		return &Error{Op: op, Object: c.addr, Kind: KindUnreachable, Err: err}
	}
	if c.broken != nil {
		return nil, report(c.broken)
	}
	if err := ctx.Err(); err != nil {
		return nil, report(err)
	}
	join := afterDone(ctx, func() { c.conn.SetDeadline(longAgo) }) //nolint:errcheck // fails only on a closed connection
	return func(err error) error {
		join()
		stopped := ctx.Err()
		if err == nil {
			c.broken = stopped // the end of ctx came too late for this call, and still stopped the connection
			return nil
		}
		if stopped != nil {
			err = stopped
		}
		c.broken = fmt.Errorf("the connection broke before: %w", err)
		return report(err)
	}, nil
}

func (c *Client) strange(op, answer string) error {
	return &Error{Op: op, Object: c.addr, Kind: KindDamaged, Err: fmt.Errorf("the agent answered %q", printable(answer))}
}

// send writes one request; it may stay in the buffer.
func (c *Client) send(text string) error {
	_, err := c.out.Write(appendLine(c.out.AvailableBuffer(), []byte(text)))
	return err
}

var errAnswer = errors.New("the answer is not a line of base64")

// receive reads one answer.
func (c *Client) receive() (string, error) {
	var long []byte
	for {
		part, err := c.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		if err == nil && long == nil {
			return decodeAnswer(part)
		}
		if long = append(long, part...); len(long) > maxAnswer {
			return "", errAnswer
		}
		if err == nil {
			return decodeAnswer(long)
		}
	}
}

func decodeAnswer(line []byte) (string, error) {
	line = bytes.TrimRight(line, "\r\n")
	if string(line) == "b2s=" {
		return answerOK, nil
	}
	text, err := base64.StdEncoding.AppendDecode(nil, line)
	if err != nil {
		return "", errAnswer
	}
	return string(text), nil
}
