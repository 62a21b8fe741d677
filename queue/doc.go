// Package queue is the durable memory of the agent: the keyed queue of what S3 should be made to do, and the ledger of
// what the buckets hold because of us. Both live in one Pebble database, so that the end of an instruction and its row
// in the ledger are one commit.
//
// # What it promises
//
//   - One record per destination key. A newer wish for a key replaces the one that waits; it never overtakes one that
//     is in somebody's hand.
//   - One key is never in two hands. A hand is a lease with a token that is given out once; the lease is on disk before
//     its holder hears of it, so a crash cannot hide that an instruction may have been carried out ([protocol.Delivery]
//     Again).
//   - What a call acknowledged is on disk when the call returns. Backfill is the exception: a scan finds it again, so it
//     is on disk within a second (see [Queue.Run]).
//   - Delivery is at least once, of idempotent instructions.
//   - Order across keys (order.go): a copy reads what its source was when it was asked for, and what makes room for a
//     key is carried out before what needs the room. Later wishes wait for earlier ones only, so nothing can wait in a
//     circle.
//   - Memory does not grow with the number of instructions or ledger rows.
//
// # How it fails
//
// [Open] tells a store that another process holds (KindLocked) from a damaged one (KindDamaged) and from a disk that
// refuses (KindLocal), and changes nothing of a damaged store. When the disk refuses a write later, the store is frozen
// in the state of that moment, as a power cut would leave it: the call and all later ones return KindLocal errors,
// nothing is acknowledged any more, [Queue.Err] tells why, [Queue.Run] returns it. Open again when there is room. With
// [Options.Heal] the queue does so itself: heal.go for a disk that refuses, aside.go for a damaged store.
//
// # How to read it
//
// keys.go is the layout and record.go the record; tx.go turns a changed record into one batch with all its index rows;
// put.go, lease.go and settle.go are the state machine, order.go the waiting between keys. open.go, inspect.go, fs.go
// and queue.go keep the store, heal.go, disk.go and aside.go mend it; ledger.go and shelf.go are what lies beside the queue.
package queue
