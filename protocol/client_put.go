package protocol

import (
	"context"
	"fmt"
)

// PutError is what [Client.Put] returns when the agent did not take all instructions. errors.Is finds [ErrInvalid] and
// [ErrFail] in it.
type PutError struct {
	Total   int // instructions given to Put
	Refused []Refusal
}

// Refusal is one instruction that was not taken.
type Refusal struct {
	Index int   // in the slice given to Put
	Err   error // wraps ErrInvalid or ErrFail
}

// Error names the number and the first of them.
func (e *PutError) Error() string {
	return fmt.Sprintf("%d of %d instructions were not taken, the first: %v", len(e.Refused), e.Total, e.Refused[0].Err)
}

// Unwrap returns the reasons.
func (e *PutError) Unwrap() []error {
	errs := make([]error, len(e.Refused))
	for i, r := range e.Refused {
		errs[i] = r.Err
	}
	return errs
}

// Put hands instructions to the agent; nil means that all of them are durable there. It sends many ahead of their
// answers, so one call with a thousand is much faster than a thousand calls. A [*PutError] tells which were not taken;
// all others were. After any other error it is not known what the agent has; sending all of them again does no harm.
func (c *Client) Put(ctx context.Context, ins []Instruction) error {
	if len(ins) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	end, err := c.begin(ctx, opPut)
	if err != nil {
		return err
	}
	ahead := make(chan unanswered, window)
	written := make(chan error, 1)
	go func() {
		defer close(ahead)
		err := c.sendAll(ins, ahead)
		if err != nil {
			c.conn.SetDeadline(longAgo) //nolint:errcheck // no answer is worth waiting for
		}
		written <- err
	}()
	refused, err := c.receiveAll(ahead)
	if err := end(cause(err, <-written)); err != nil {
		return err
	}
	if len(refused) > 0 {
		return &PutError{Total: len(ins), Refused: refused}
	}
	return nil
}

// cause returns the error that came first: the other half was then stopped by a deadline.
func cause(read, write error) error {
	if read == nil || write != nil && isTimeout(read) {
		return write
	}
	return read
}

const opPut = "put instructions"

// unanswered is an instruction whose answer is to come, or one that could not be sent.
type unanswered struct {
	index int
	unfit error
}

// sendAll writes all instructions and tells ahead of each. It never waits for a reader that waits for its buffer.
func (c *Client) sendAll(ins []Instruction, ahead chan<- unanswered) error {
	var text, line []byte
	for i, in := range ins {
		next := unanswered{index: i}
		var err error
		if text, err = AppendInstruction(text[:0], in); err != nil {
			next.unfit = fmt.Errorf("%w: %w", ErrInvalid, err)
		} else {
			line = appendLine(line[:0], text)
			if _, err := c.out.Write(line); err != nil {
				return err
			}
		}
		select {
		case ahead <- next:
		default:
			if err := c.out.Flush(); err != nil {
				return err
			}
			ahead <- next
		}
	}
	return c.out.Flush()
}

// receiveAll reads the answers to what sendAll sent. After an error it only lets sendAll come to its end.
func (c *Client) receiveAll(ahead <-chan unanswered) (refused []Refusal, err error) {
	for next := range ahead {
		if err != nil {
			continue
		}
		if next.unfit != nil {
			refused = append(refused, Refusal{next.index, next.unfit})
			continue
		}
		var answer string
		if answer, err = c.receive(); err == nil {
			if no := c.refusal(opPut, answer); no != nil {
				refused = append(refused, Refusal{next.index, no})
			} else if answer != answerOK {
				err = c.strange(opPut, answer)
			}
		}
		if err != nil {
			c.conn.SetDeadline(longAgo) //nolint:errcheck // ends sendAll if it waits
		}
	}
	return refused, err
}
