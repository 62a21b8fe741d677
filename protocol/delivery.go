package protocol

import "time"

// Delivery is an instruction in somebody's hand. Deliveries are at-least-once; instructions are idempotent.
type Delivery struct {
	Instruction
	Token   uint64 // this lease; never given out twice
	Gen     uint64 // the wish that was handed out; a newer Put on the key makes it larger
	Attempt int    // 1 for the first hand
	Class   Class

	// Hint says that the instruction came from watching or scanning, not from a person or client: it is carried out
	// only if Known says that the bucket differs. A delete that is a hint needs Known, so nothing is deleted that
	// this agent did not put there.
	Hint bool

	// Again says that an earlier hand may have carried the instruction out without our learning of it (a crash, an
	// expired lease): look before sending.
	Again bool

	// First is the token of the first hand that the instruction, or one that it replaced, was in since the last one that
	// ended well. What such a hand sent without our learning of it bears a token from First to Token. 0: not known.
	First uint64

	// Queue names the queue that gave the instruction out: random, kept with its store, and shown to nobody. With it a
	// worker signs what it sends, so that it knows its own work again.
	Queue string

	// Known is the ledger's row for the key at the time of the lease, nil if there is none.
	Known *Entry

	// Origin is the ledger's row for the object that From names, at the time of the lease; nil if there is none.
	Origin *Entry
}

// Result is what became of a Delivery, as its holder tells the queue.
type Result struct {
	Delivery Delivery

	// Err nil: done. The ledger then takes Entry, or loses its row if Entry is nil and Keep is not set.
	Err   *Error
	Entry *Entry
	Keep  bool // leave the ledger's row as it is

	// Origin is what was found out about the object that Delivery.From names, when Err is nil.
	Origin OriginFate

	// Delay is the least time until the next attempt, when Err is set.
	Delay time.Duration
	// Uncounted leaves the number of attempts as it is: the failure says nothing about this instruction (the target
	// is down, the file is being written).
	Uncounted bool
	// Unsure says that the attempt may have taken effect without our learning of it: the next hand gets Again.
	Unsure bool
	// Dead gives the instruction up: it is listed with Err until it is retried by hand or its file changes.
	Dead bool
	// Passed says, when Err is set, that others see to it that there is another hint when it can be carried out: this one is
	// forgotten, unless a copy waits for it.
	Passed bool
}

// OriginFate says whether an upload with an origin was what it was taken for: a file that has another name now.
type OriginFate uint8

const (
	// OriginRenamed: nothing speaks against it.
	OriginRenamed OriginFate = iota
	// OriginApart: the file holds other bytes, so it is another one. What became of the old name is to be judged anew:
	// the queue takes back a delete of it that is a hint and does not wait for a person.
	OriginApart
	// OriginForeign: somebody else has written the old object. It is not ours any more: the queue takes back any hinted
	// delete of it, and the ledger loses its row.
	OriginForeign
)

// Outcome is the queue's answer to a Result.
type Outcome uint8

const (
	Done       Outcome = iota + 1 // gone from the queue
	Superseded                    // recorded, and a newer wish for the key is ready
	Requeued                      // it failed and will be handed out again
	Buried                        // it failed for good and is listed
	LeaseLost                     // the lease had ended; nothing was recorded
)

// String returns the outcome as a word for logs.
func (o Outcome) String() string {
	switch o {
	case Done:
		return "done"
	case Superseded:
		return "superseded"
	case Requeued:
		return "requeued"
	case Buried:
		return "buried"
	case LeaseLost:
		return "lease lost"
	}
	return "unknown outcome"
}
