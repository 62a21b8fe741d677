package protocol

import (
	"context"
	"time"
)

// Handler is the queue as the socket's server sees it. All methods may be called at the same time. The instructions
// that cross it name the default bucket by the empty string and a folder by its plain key: the handler knows better.
type Handler interface {
	// Put takes instructions; nil means that all of them are durable.
	Put(ctx context.Context, ins []Instruction) error
	// Lease hands out up to n instructions for the time hold: it waits up to wait for the first, never for more. get is
	// a lease as well, settled when the answer was written.
	Lease(ctx context.Context, n int, wait, hold time.Duration) ([]Delivery, error)
	// Settle takes back what Lease handed out. A result's Delivery carries Key, Token and Gen only.
	Settle(ctx context.Context, results []Result) ([]Outcome, error)
	// Info counts; the server adds the numbers of its own (ThCount, GetCmd, TotalCmd).
	Info() Info
	// Failed lists up to n instructions that were given up or wait out a failure, in key order, behind after.
	Failed(ctx context.Context, after ObjectID, n int) ([]Failure, error)
	// Held lists up to n deletes that wait for a person, in key order, behind after.
	Held(ctx context.Context, after ObjectID, n int) ([]Failure, error)
	// Release lets the named held deletes go, or all of them if none is named, and says how many.
	Release(ctx context.Context, ids []ObjectID) (int, error)
	// Drop forgets the named held deletes, or all of them if none is named, and says how many. The objects stay.
	Drop(ctx context.Context, ids []ObjectID) (int, error)
	// Retry makes the named failed instructions due now, or all of them if none is named, and says how many.
	Retry(ctx context.Context, ids []ObjectID) (int, error)
}

// Info is the state of the queue as inf tells it, in S3 APU's order.
type Info struct {
	QSize    int64 // instructions in the queue now, about
	ThCount  int64 // clients being served now
	TotalCmd int64 // instructions and requests for work received since the start
	MkdCmd   int64
	UplCmd   int64
	CpoCmd   int64
	DelCmd   int64
	GetCmd   int64 // items of work asked for
	Uptime   time.Duration
}

// Failure is an instruction that did not go, with its reason. If it is neither Dead nor Held it waits for its next
// attempt.
type Failure struct {
	Instruction
	Dead     bool // given up
	Held     bool // a delete that waits for a person
	Attempts int
	Since    time.Time // when the wish first came
	Next     time.Time // the next attempt, if not Dead
	Reason   string
}
