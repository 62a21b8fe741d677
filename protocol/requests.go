package protocol

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

const (
	// maxItems is the most that get and lse hand out at once; a larger number falls back to it. As in S3 APU.
	maxItems = 30

	// getText is the most text in an answer to get. A client of S3 APU reads 8,192 bytes; the line is kept within them,
	// with its base64 and LF, so the text may have (8,192-1)/4*3. A single longer instruction goes alone.
	getText = (8192 - 1) / 4 * 3

	// longText is the most text in an answer to our own requests. A guess: as long as a request may be.
	longText = MaxLine / 4 * 3

	// popHold is the lease under which get hands out, until the answer is written. It must outlast a write.
	popHold = 2 * writeTimeout

	// maxHold is the longest lease a client may ask for: the longest visibility timeout of Amazon SQS.
	maxHold = 12 * time.Hour

	// maxFailures is the most that fld lists at once. A guess.
	maxFailures = 1000

	// unfitDelay keeps an instruction that cannot be written away from foreign workers for a while. A guess.
	unfitDelay = time.Minute
)

// ask carries out a request that is not batched. It returns false if the connection is to end.
func (se *session) ask(text, verb string, f []string) bool {
	se.rest() // the queue takes its time
	var answer string
	var err error
	switch {
	case verb == "get" && len(f) == 1:
		n, bad := parseCount(f[0], maxItems)
		if bad != nil {
			se.invalid(text, bad)
			return true
		}
		return se.hand(text, n, 0)
	case verb == "lse" && len(f) == 2:
		n, bad1 := parseCount(f[0], maxItems)
		seconds, bad2 := parseCount(f[1], int(maxHold/time.Second)+1)
		if bad := errors.Join(bad1, bad2); bad != nil || seconds > int(maxHold/time.Second) {
			se.invalid(text, errors.Join(bad, errors.New("lse takes a number and 1 to 43200 seconds")))
			return true
		}
		return se.hand(text, n, time.Duration(seconds)*time.Second)
	case verb == "inf" && f == nil:
		answer = EncodeInfo(se.srv.info())
	case verb == "fld" && (len(f) == 1 || len(f) == 2):
		answer, err = se.list(f, se.srv.Handler.Failed)
	case verb == "hld" && (len(f) == 1 || len(f) == 2):
		answer, err = se.list(f, se.srv.Handler.Held)
	case verb == "rty" && len(f) == 1:
		answer, err = se.change(verb, f[0], se.srv.Handler.Retry)
	case verb == "rel" && len(f) == 1:
		answer, err = se.change(verb, f[0], se.srv.Handler.Release)
	case verb == "drp" && len(f) == 1:
		answer, err = se.change(verb, f[0], se.srv.Handler.Drop)
	case verb == "tok" && len(f) == 1:
		if !se.show(f[0]) {
			se.invalid("tok", errToken)
			return true
		}
		answer = answerOK
	default:
		se.invalid(text, wrongShape(verb, f))
		return true
	}
	switch {
	case err != nil && atFault(err):
		se.invalid(text, err)
		return true
	case err != nil:
		answer = se.failed(text, err)
	}
	se.answer(answer)
	return true
}

// show takes the token of a client that could connect without it. A guest that shows it is none any more; where there is no
// token, and to who is no guest, every one is right and changes nothing.
func (se *session) show(token string) bool {
	if se.guest == "" || se.srv.Peers.Token == "" {
		return true
	}
	given, err := unescape(token)
	if err != nil || !se.srv.Peers.tokenOK(given) {
		return false
	}
	se.guest = ""
	return true
}

// wrongShape says what is wrong with a request whose verb or number of fields nobody takes.
func wrongShape(verb string, f []string) error {
	least := map[string]int{"get": 1, "lse": 2, "inf": 0, "fld": 1, "hld": 1, "rty": 1, "rel": 1, "drp": 1, "tok": 1}
	n, known := least[verb]
	switch {
	case verb == "" && f == nil:
		return errEmpty
	case !known:
		return errVerb
	case len(f) < n:
		return errMissing
	}
	return errExtra
}

// parseCount reads a number of at least 1; what is above most falls back to it.
func parseCount(s string, most int) (int, error) {
	if s == "" {
		return 0, errMissing
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, errors.New("not a number")
		}
		n = min(n*10+int(s[i]-'0'), most)
	}
	if n < 1 {
		return 0, errors.New("the number is less than 1")
	}
	return n, nil
}

// hand answers get, with hold 0, and lse. It returns false if the client has gone.
func (se *session) hand(text string, n int, hold time.Duration) bool {
	se.srv.asked.Add(int64(n))
	pop := hold == 0
	if pop {
		hold = popHold
	}
	want := n
	if se.fit > 0 {
		want = min(n, se.fit)
	}
	ds, gone, err := se.lease(want, hold)
	if err != nil {
		se.giveBack(ds, err)
		se.answer(se.failed(text, err))
		return true
	}
	line, given, back := se.pack(ds, pop)
	if gone || se.stop.Err() != nil { // nothing is handed out any more when the server stops
		se.giveBack(given, errors.New("the client or the server went away"))
		given, line = nil, ""
	}
	se.answer(line)
	if err := se.out.Flush(); err != nil {
		se.giveBack(given, err)
		given, gone = nil, true
	}
	if pop {
		for _, d := range given {
			back = append(back, acked(d))
		}
	}
	se.settleAll(back)
	return !gone
}

// lease takes up to n instructions for a client that is still there, and waits for the first. gone says that the
// client has closed its side; what was leased then is to go back.
func (se *session) lease(n int, hold time.Duration) (ds []Delivery, gone bool, err error) {
	if se.lines.gone() {
		return nil, true, nil
	}
	ds, err = se.srv.Handler.Lease(se.stop, n, 0, hold)
	if err == nil && len(ds) == 0 {
		if err := se.out.Flush(); err != nil {
			return nil, true, nil //nolint:nilerr // the client has gone: no failure of the request
		}
		ctx, cancel := context.WithCancel(se.stop)
		end := se.lines.watch(cancel)
		ds, err = se.srv.Handler.Lease(ctx, n, orDefault(se.srv.GetWait, getWait), hold)
		gone = end()
		cancel()
	}
	gone = gone || se.lines.gone()
	if gone || se.stop.Err() != nil {
		err = nil // we broke it off ourselves
	}
	return ds, gone, err
}

// pack writes deliveries into one answer: given are in it, back are the results of those that are not. Answers to get
// bear no IDs and are kept short.
func (se *session) pack(ds []Delivery, pop bool) (line string, given []Delivery, back []Result) {
	most := longText
	if pop {
		most = getText
	}
	var b []byte
	for i := range ds {
		d := &ds[i]
		at := len(b)
		if at > 0 {
			b = append(b, itemSep)
		}
		if !pop {
			b = append(appendLeaseID(b, d), idSep)
		}
		var err error
		if b, err = AppendInstruction(b, d.Instruction); err != nil {
			b = b[:at]
			se.record(slog.LevelError, fmt.Errorf("an instruction cannot be handed to clients: %w", err), "get")
			back = append(back, returned(*d, err, unfitDelay))
			continue
		}
		if len(b) > most && at > 0 {
			b = b[:at]
			for _, rest := range ds[i:] {
				back = append(back, returned(rest, errors.New("the answer was full"), 0))
			}
			se.fit = max(len(given), 1)
			return string(b), given, back
		}
		given = append(given, *d)
	}
	if se.fit > 0 {
		se.fit = min(se.fit+se.fit/4+1, maxItems)
	}
	return string(b), given, back
}

// returned is the result of a delivery that no worker has seen.
func returned(d Delivery, why error, delay time.Duration) Result {
	return Result{Delivery: settled(d), Uncounted: true, Delay: delay, Err: &Error{
		Op: "hand out", Object: string(d.Key), Kind: KindBusy, Err: why,
	}}
}

// giveBack returns deliveries that no worker has seen.
func (se *session) giveBack(ds []Delivery, why error) {
	back := make([]Result, 0, len(ds))
	for _, d := range ds {
		back = append(back, returned(d, why, 0))
	}
	se.settleAll(back)
}

// settleAll ends leases of our own. If that fails they end by themselves, and the instructions are handed out again.
func (se *session) settleAll(rs []Result) {
	if len(rs) == 0 {
		return
	}
	if _, err := se.srv.Handler.Settle(se.work, rs); err != nil {
		se.record(slog.LevelError, fmt.Errorf("%d instructions that were handed out will be handed out again: %w", len(rs), err), "get")
	}
}

// list answers fld|N|AFTER and hld|N|AFTER; AFTER may be empty or missing.
func (se *session) list(f []string, of func(context.Context, ObjectID, int) ([]Failure, error)) (string, error) {
	invalid := func(err error) error { return &Error{Op: "list failures", Kind: KindItem, Err: err} }
	n, err := parseCount(f[0], maxFailures)
	if err != nil {
		return "", invalid(err)
	}
	var after ObjectID
	if len(f) == 2 && f[1] != "" {
		if after, err = decodeID(f[1]); err != nil {
			return "", invalid(err)
		}
	}
	list, err := of(se.work, after, n)
	if err != nil {
		return "", err
	}
	var b []byte
	for i := range list {
		at := len(b)
		if at > 0 {
			b = append(b, itemSep)
		}
		if b = appendFailure(b, &list[i]); len(b) > longText && at > 0 {
			b = b[:at] // the client asks again, behind the last one it got
			break
		}
	}
	return string(b), nil
}

// change answers rty, rel and drp with |KEY or |*. A key of one star is written %2A.
func (se *session) change(verb, which string, do func(context.Context, []ObjectID) (int, error)) (string, error) {
	var ids []ObjectID
	if which != "*" {
		id, err := decodeID(which)
		if err != nil {
			return "", &Error{Op: verb, Kind: KindItem, Err: err}
		}
		ids = []ObjectID{id}
	}
	n, err := do(se.work, ids)
	if err != nil {
		return "", err
	}
	return answerOK + string(fieldSep) + strconv.Itoa(n), nil
}
