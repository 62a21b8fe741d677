// Package agent makes one program of the rooms: it reads the configuration, opens queue and buckets, gives every folder
// a watcher and a feeder and every bucket a pool of workers, answers the socket and /healthz, and runs until its context
// ends. It is the only place that knows everyone.
//
// A change's way: watcher → feeder → queue → worker → bucket, and back as one commit of acknowledgement and ledger row.
//
// It holds the state_dir alone (a second agent gets an error of KindLocked) and loses nothing when it ends, however it
// ends: what was not acknowledged is in the queue or on the disk, and the next start finds it.
package agent
