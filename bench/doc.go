// Command bench measures the agent and its peers on the same data, against the same endpoint, in the same run, one after
// the other in turns, and prints medians and ratios as Markdown with the machine, the versions and the commands.
//
//	go run ./bench                          everything, three times each; takes hours
//	go run ./bench -work cold,latency       these works only
//	go run ./bench -quick                   once each, a tenth of the files
//	go run ./bench -agent before=PATH -agent after=PATH     two builds in the same run
//	go run ./bench -out FILE                the same text into a file
//
// Peers are built by the go command, at the versions named in tools.go, into a folder of the user's cache; the report names
// those that cannot be had. Most works use an S3 endpoint of the harness's own that drops what it is sent (package nulls3), in a
// process of its own. docs/performance.md says how each work is measured, and shows a run.
//
// The sizes of the works and the bars that they are held against are goals that the project has set itself, not measurements.
//
// The harness needs Linux: it reads CPU times and peak memory of processes from the kernel.
package main
