// Package feeder turns what lies on disk into instructions: walk × ledger × listing in a [Feeder.Scan], one settled
// path at a time in [Feeder.Change], and without any ledger in [Feed], which is S3 APU's util_feed.
//
// It owns the comparison and the decision, nothing else: the queue, the ledger in it and the listing are reached
// through the small interfaces [Queue] and [Lister], and whether a file is being written is asked of a [Rest],
// or left to who carries the wish out ([Folder.Unasked]).
//
// It promises:
//
//   - The disk is the truth. What is wished for follows from lstat and the ledger at the time of the call, never
//     from what an event said.
//   - A delete is wished for only for an object that the ledger says came from exactly this path, only after ENOENT
//     or ENOTDIR below a readable folder, and only while the root is the folder that it was. Deletes that look like
//     an accident (see [Folder]) are put as held. Everything else that is wrong with a path is an error, never a
//     delete: EACCES, EIO and ESTALE say nothing about whether the file is there.
//   - An object that is in the bucket but not in the ledger is never touched, unless a file lies at its key.
//   - Memory does not grow with the tree: a scan holds the names of the folders on the way down (one level at a
//     time), some 500 files that were looked at ahead, one row of each stream and at most [deferMax] keys to be deleted.
//   - FIFOs, sockets and devices are counted and skipped. So are symbolic links, unless the folder stores or follows
//     them; what a link keeps from being seen is not deleted.
//
// It fails so: one bad path is entered in the queue as failed, with its reason, and the rest goes on; a listing that
// breaks off leaves the comparison with the ledger; a root that is missing or not the one it was stops deletes, is
// reported as an error of [protocol.KindLocal] and heals by itself; an error of the queue ends the call. All calls are
// safe to repeat. All methods may be called at the same time.
package feeder
