// Command util_feed hands the contents of a folder to the agent's queue.
package main

import "s3apu/internal/cli"

func main() { cli.Exit("util_feed") }
