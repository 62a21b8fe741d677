// Package worker carries instructions out: it leases deliveries from a queue ([Source]), transfers them to one bucket
// ([Store]), classifies what came of it and settles them. A [Pool] serves one bucket.
//
// It owns: reading local files so that no torn state of one ever becomes visible, the metadata and content types of
// objects, how many requests there are at once, the pace (AIMD on 503), the pause while a target is down, and what a failure
// means for an instruction.
//
// It promises:
//   - An object is a state of the file at rest, or is not written. A file is stat'ed before and after it is read; a
//     single PUT is abandoned before its last byte and a multipart upload is not completed when anything differs.
//   - One slow or bad delivery never stops the others: big files have a lane of their own, failures have their own
//     back-off, and only a fault of the whole target stops everybody, until a probe succeeds.
//   - When Run's context ends, every delivery in hand is finished or given back uncounted; nothing is lost.
//
// How it fails: a failure of an instruction goes back to the Source in a [protocol.Result]; it is not logged here. A hint
// whose file is being written is over where [Config.Await] sees to it that the end of that is heard.
// A fault of the target or of the Source is logged once when it begins and once when it ends, and Run goes on.
//
// The way through the source: api.go (what it needs), pool.go (the goroutines), deal.go (leases), hand.go (one delivery), upload.go,
// multipart.go and parts.go (large files), folder.go (the verbs), file.go and metadata.go (the local side), verdict.go (what a failure means),
// climb.go, aimd.go, slots.go and pace.go (how many at once, and the pace), gate.go (the pause), settler.go, stats.go.
package worker
