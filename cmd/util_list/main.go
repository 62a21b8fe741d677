// Command util_list lists a folder of the bucket.
package main

import "s3apu/internal/cli"

func main() { cli.Exit("util_list") }
