// Command util_list_noseparator lists every key below a prefix.
package main

import "s3apu/internal/cli"

func main() { cli.Exit("util_list_noseparator") }
