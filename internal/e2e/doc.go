// Package e2e holds the end-to-end tests: they build the programs, run them as processes against S3 servers that are
// processes too, and look at the bucket and the answers only, never inside. They run with S3APU_E2E=1 and on Linux;
// otherwise they are skipped and say so. .ci/run installs the servers and sets the variable.
package e2e
