package bucket

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"s3apu/protocol"
)

// retryer says what the SDK itself tries again: what is transient, and soon. All longer waiting belongs to the queue, and
// a 503 has to be known there at once. It has no budget of tokens: the SDK's stops backing off once its bucket of
// tokens is empty (aws-sdk-go-v2#3413).
type retryer struct{ attempts int }

// The gaps between attempts: 50 ms, 100 ms, …, at most 1 s, and half of each is chance. A guess: long enough for a server
// that restarts a process, short enough for a worker to wait.
const (
	firstGap = 50 * time.Millisecond
	mostGap  = time.Second
)

// IsErrorRetryable is of [aws.Retryer].
func (r retryer) IsErrorRetryable(err error) bool {
	return classify(context.Background(), err).kind == protocol.KindTransient && !errors.Is(err, errStalled) && !canceled(err)
}

// canceled reports whether err comes from the end of the caller's context.
func canceled(err error) bool {
	var sdk *smithy.CanceledError
	return errors.As(err, &sdk) || errors.Is(err, context.Canceled)
}

// attempts counts those of one call that went out, so that a failure in the last one does not hide that an earlier one may
// have taken effect. It travels in the call's context.
type attempts struct{ n atomic.Int32 }

type attemptsKey struct{}

// counting returns a context in which attempts are counted.
func counting(ctx context.Context) context.Context {
	return context.WithValue(ctx, attemptsKey{}, new(attempts))
}

// attempt counts one more.
func attempt(ctx context.Context) {
	if a, ok := ctx.Value(attemptsKey{}).(*attempts); ok {
		a.n.Add(1)
	}
}

// repeated reports whether more than one attempt went out: those before the last had no answer that settles the matter.
func repeated(ctx context.Context) bool {
	a, ok := ctx.Value(attemptsKey{}).(*attempts)
	return ok && a.n.Load() > 1
}

// MaxAttempts is of [aws.Retryer].
func (r retryer) MaxAttempts() int { return r.attempts }

// RetryDelay is of [aws.Retryer].
func (r retryer) RetryDelay(attempt int, _ error) (time.Duration, error) {
	gap := min(firstGap<<max(0, min(attempt-1, 10)), mostGap)
	return gap/2 + rand.N(gap/2), nil //nolint:gosec // chance against herds, not against guessing
}

// GetRetryToken is of [aws.Retryer].
func (r retryer) GetRetryToken(context.Context, error) (func(error) error, error) { return free, nil }

// GetInitialToken is of [aws.Retryer].
func (r retryer) GetInitialToken() func(error) error { return free }

func free(error) error { return nil }

var _ aws.Retryer = retryer{}
