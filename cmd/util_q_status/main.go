// Command util_q_status prints the queue's counters.
package main

import "s3apu/internal/cli"

func main() { cli.Exit("util_q_status") }
