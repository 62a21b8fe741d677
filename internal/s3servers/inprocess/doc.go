// Package inprocess is an S3 endpoint inside the process that keeps objects as files in a folder: for the demonstration
// and for tests. The protocol is that of gofakes3; this package owns how objects are kept.
//
// The object k of bucket b is the file b/k below the folder, as long as the file system can hold it under that name; its
// metadata, multipart uploads and what has no such name are in the hidden folder .s3apu. So a person can look at the
// bucket with any program, and S3's own semantics hold all the same: "a" and "a/b" may both be objects.
//
// It promises that an object is replaced at once and never seen half-written, and that a restart finds what was there.
// It does not promise that what it confirmed survives a power cut. What a person changes in its files by hand is
// forgotten at the next start. One process at a time may use a folder.
package inprocess
