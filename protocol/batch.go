package protocol

import (
	"errors"
	"log/slog"
	"strings"
	"time"
)

// batch is what has been read and is not answered yet. It holds instructions or results, never both, so that requests
// are carried out in the order in which they came.
type batch struct {
	slots   []slot // one for each request, in order
	ins     []Instruction
	results []Result
}

// slot is the place of one answer. Slots without an answer belong to ins, or results, in the same order.
type slot struct {
	text   string // of the request, for the log
	answer string
}

// put takes an instruction into the batch.
func (se *session) put(text string) {
	in, err := decodeInstruction(text)
	if err == nil {
		err = se.srv.checkGuest(se.guest, &in) // first, so that no answer tells a guest what it could not see
	}
	if err == nil {
		err = se.checkSource(&in)
	}
	if err != nil {
		se.invalid(text, err)
	} else {
		if len(se.batch.results) > 0 {
			se.commit()
		}
		se.batch.ins = append(se.batch.ins, in)
		se.take(slot{text: text})
	}
}

// take adds the place of an answer, and carries the batch out when it is large enough.
func (se *session) take(s slot) {
	se.batch.slots = append(se.batch.slots, s)
	if len(se.batch.slots) >= maxBatch {
		se.commit()
	}
}

// A nak of a foreign worker comes without a delay: 3 s as between S3 APU's attempts, doubled each time, up to 5
// minutes, which is a guess.
const (
	nakDelay    = 3 * time.Second
	maxNakDelay = 5 * time.Minute
)

// settle takes the end of a lease into the batch.
func (se *session) settle(text string, done bool, args string) {
	r, err := decodeResult(done, args)
	if err != nil {
		se.invalid(text, err)
	} else {
		if len(se.batch.ins) > 0 {
			se.commit()
		}
		se.batch.results = append(se.batch.results, r)
		se.take(slot{text: text})
	}
}

// decodeResult reads what follows ack and nak: ID, and ID|REASON.
func decodeResult(done bool, args string) (Result, error) {
	id, reason, more := strings.Cut(args, string(fieldSep))
	switch {
	case done && more, strings.IndexByte(reason, fieldSep) >= 0:
		return Result{}, errExtra
	case !done && !more, id == "":
		return Result{}, errMissing
	}
	d, err := decodeLeaseID(id)
	if err != nil {
		return Result{}, err
	}
	if done {
		return acked(d), nil
	}
	if reason, err = unescape(reason); err != nil {
		return Result{}, err
	}
	if reason == "" {
		reason = "no reason was given"
	}
	delay := nakDelay << min(max(d.Attempt-1, 0), 10)
	return Result{Delivery: d, Delay: min(delay, maxNakDelay), Err: &Error{
		Op: d.Verb.String(), Object: string(d.Key), Kind: KindTransient, Err: errors.New(clipReason(reason)),
		Hint: "said by a worker on the socket",
	}}, nil
}

// acked is the result of what a foreign worker has done. What it put into the bucket is not known, so the row of the
// ledger stays as it was and a scan will notice what differs; after a del there is nothing to know.
func acked(d Delivery) Result {
	return Result{Delivery: settled(d), Keep: d.Verb != Del}
}

// settled is what Settle needs of a delivery.
func settled(d Delivery) Delivery {
	return Delivery{Instruction: Instruction{Verb: d.Verb, Bucket: d.Bucket, Key: d.Key}, Token: d.Token, Gen: d.Gen, Attempt: d.Attempt}
}

// commit carries the batch out and writes its answers.
func (se *session) commit() {
	b := &se.batch
	if len(b.slots) == 0 {
		return
	}
	se.rest() // the queue takes its time
	switch {
	case len(b.ins) > 0:
		se.commitPuts()
	case len(b.results) > 0:
		se.commitResults()
	}
	for _, s := range b.slots {
		se.answer(s.answer)
	}
	clear(b.slots)
	b.slots = b.slots[:0]
	if cap(b.slots) > maxBatch/10 {
		b.slots = nil
	}
	b.ins, b.results = nil, nil // the handler may have kept them
}

// commitPuts hands all instructions over at once. If one of them is at fault, each is tried by itself.
func (se *session) commitPuts() {
	b := &se.batch
	err := se.srv.Handler.Put(se.work, b.ins)
	if err == nil || len(b.ins) == 1 || !atFault(err) {
		se.fillSlots(se.verdict(err, len(b.ins)))
		return
	}
	next := 0
	for i := range b.slots {
		if b.slots[i].answer != "" {
			continue
		}
		err := se.srv.Handler.Put(se.work, b.ins[next:next+1:next+1])
		next++
		switch {
		case err == nil:
			b.slots[i].answer = answerOK
		case atFault(err):
			b.slots[i].answer = answerInvalid
			se.record(slog.LevelWarn, err, b.slots[i].text)
		default:
			b.slots[i].answer = se.failed(b.slots[i].text, err)
		}
	}
}

// atFault reports whether the error is the instruction's own.
func atFault(err error) bool {
	k := KindOf(err)
	return k == KindItem || k == KindUsage
}

// verdict is the answer to all open requests of the batch after err; it is logged once.
func (se *session) verdict(err error, n int) string {
	if err == nil {
		return answerOK
	}
	first := ""
	for _, s := range se.batch.slots {
		if s.answer == "" {
			first = s.text
			break
		}
	}
	if atFault(err) {
		se.record(slog.LevelWarn, err, first)
		return answerInvalid
	}
	se.record(slog.LevelError, err, first, "requests", n)
	return answerFail
}

func (se *session) fillSlots(answer string) {
	for i := range se.batch.slots {
		if se.batch.slots[i].answer == "" {
			se.batch.slots[i].answer = answer
		}
	}
}

// commitResults hands all results over at once.
func (se *session) commitResults() {
	b := &se.batch
	outcomes, err := se.srv.Handler.Settle(se.work, b.results)
	if err == nil && len(outcomes) != len(b.results) {
		err = errors.New("the queue did not answer for every lease")
	}
	if err != nil {
		se.fillSlots(se.verdict(err, len(b.results)))
		return
	}
	next := 0
	for i := range b.slots {
		if b.slots[i].answer != "" {
			continue
		}
		b.slots[i].answer = answerOK
		if outcomes[next] == LeaseLost {
			b.slots[i].answer = answerGone
		}
		next++
	}
}
