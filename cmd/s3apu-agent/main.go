// Command s3apu-agent keeps an S3 bucket equal to local folders, continuously.
package main

import "s3apu/internal/cli"

func main() { cli.Exit("s3apu-agent") }
