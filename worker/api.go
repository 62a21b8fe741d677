package worker

import (
	"context"
	"io"
	"time"

	"s3apu/protocol"
)

// Source is a queue as the worker sees it: the deliveries of one bucket. All methods may be called at the same time.
//
// A delivery that Lease returned belongs to the caller until it is settled; no other caller is given the same key
// meanwhile. If the process dies first, it comes back with Again set; and if the queue has to open its store again (Opening).
type Source interface {
	// Lease returns up to n deliveries. It waits up to wait for the first and never for more; after that it returns
	// none and no error. It returns deliveries or an error, never both. When ctx ends it returns soon; what it did
	// not return is not leased, or comes back by itself.
	Lease(ctx context.Context, n int, wait time.Duration) ([]protocol.Delivery, error)

	// Opening returns a number that grows whenever the queue's store is opened again, before anything is leased from it: what
	// was leased before is void then, and may be in another hand.
	Opening() uint64

	// Settle records results durably, all or none, and answers one outcome for each, in order. After an error it is
	// called again with the same results: those that were recorded all the same answer LeaseLost.
	Settle(ctx context.Context, results []protocol.Result) ([]protocol.Outcome, error)

	// LoadUpload returns how far a multipart upload to id has come, or nil and no error if nothing is known.
	LoadUpload(ctx context.Context, id protocol.ObjectID) (*protocol.Upload, error)
	// SaveUpload replaces what is known about the upload to u's bucket and key. It keeps no reference to u.
	SaveUpload(ctx context.Context, u *protocol.Upload) error
	// DropUpload forgets the upload to id; that there was none is no error.
	DropUpload(ctx context.Context, id protocol.ObjectID) error
	// Leftovers returns the uploads of the bucket that nobody will take up again: no instruction for their key is
	// ready, leased, waiting or held.
	Leftovers(ctx context.Context) ([]*protocol.Upload, error)
}

// Store is an S3 bucket as the worker sees it. All methods may be called at the same time. Errors carry a
// [protocol.Kind]; a few quick retries inside are welcome, long waiting is the worker's part. Every method may take
// effect although it returned an error; every method may be called again with the same arguments.
//
// A body is read from its start to size and may be rewound with Seek for a retry; it is not used after the method
// returned. A read error of the body ends the request without an object becoming visible.
type Store interface {
	// Put writes an object in one request. The server checks the body against md5 (Content-MD5).
	Put(ctx context.Context, key protocol.Key, h protocol.Headers, body io.ReadSeeker, size int64, md5 [16]byte) (protocol.Receipt, error)
	// StartUpload begins the multipart upload of up.Key. It sets up.UploadID, and up.CRC64 to how the server wants its parts
	// checked. The object becomes visible by FinishUpload only. If up.UploadID is set although it failed, that has to be ended.
	StartUpload(ctx context.Context, up *protocol.Upload, h protocol.Headers) error
	// UploadPart sends part p of up, numbered from 1, and returns its ETag without quotes. The server checks the body against
	// p.CRC64 if up is one with CRC64, else against the MD5 sum. KindNotFound: no such upload. Called for several parts at
	// the same time, while up.Parts grows: of up only key, id and CRC64 are read.
	UploadPart(ctx context.Context, up *protocol.Upload, p protocol.Part, sum [16]byte, body io.ReadSeeker) (string, error)
	// FinishUpload makes the object out of up.Parts, which are in order of their numbers.
	FinishUpload(ctx context.Context, up *protocol.Upload) (protocol.Receipt, error)
	// AbortUpload frees what was sent. KindNotFound: there is no such upload any more.
	AbortUpload(ctx context.Context, key protocol.Key, uploadID string) error
	// AbortUnknown frees what uploads to exactly this key hold that were begun since a time, by our clock, whatever their
	// ids are.
	AbortUnknown(ctx context.Context, key protocol.Key, since time.Time) error
	// Copy writes key from src within S3. h nil keeps the metadata of src, else h replaces them. ifMatch, if not
	// empty, is the ETag that src must have (else KindChanged). KindNotFound: there is no src.
	Copy(ctx context.Context, src protocol.ObjectID, key protocol.Key, h *protocol.Headers, ifMatch string) (protocol.Receipt, error)
	// Delete removes an object; that there was none is no error.
	Delete(ctx context.Context, key protocol.Key) error
	// Head tells what S3 holds under key, with content type and metadata. KindNotFound: nothing.
	Head(ctx context.Context, key protocol.Key) (*protocol.Object, error)
	// Probe is the cheapest request that tells whether the target can be worked with again.
	Probe(ctx context.Context) error
}

// Event is what became of one delivery, for logs and figures. It is handed out once per settled delivery, in the order
// of settling, from one goroutine; whoever takes it must be quick.
type Event struct {
	protocol.Result
	Outcome  protocol.Outcome
	Began    time.Time
	Took     time.Duration // without the settling
	Bytes    int64         // of bodies that S3 confirmed
	Requests int           // to S3, not counting the Store's own retries
}
