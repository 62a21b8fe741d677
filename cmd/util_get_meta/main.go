// Command util_get_meta prints the headers of an object.
package main

import "s3apu/internal/cli"

func main() { cli.Exit("util_get_meta") }
