// Package failpoint lets tests kill the agent between two durable steps. A room marks each such place with [Here]. In the
// ordinary build that is an empty function, and nothing of it remains. Built with the tag "failpoints", the process ends
// at the place that the environment variable S3APU_FAILPOINT names, as if it had been killed by kill -9:
//
//	S3APU_FAILPOINT=queue.leased=kill@3   // when it comes there for the third time
//
// internal/e2e reads the names from the source, so that no place can be forgotten. They are literals for that reason.
package failpoint
