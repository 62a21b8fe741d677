package cli

import (
	"context"
	"errors"

	"s3apu/protocol"
)

// Exit codes of every command. The README prints the same table; a test compares them.
const (
	ExitOK        = 0 // done
	ExitError     = 1 // something failed that no other code names
	ExitUsage     = 2 // wrong arguments or configuration: trying again does not help
	ExitTarget    = 3 // S3 cannot be reached, or refuses the key or the bucket
	ExitLocked    = 4 // another agent or program has the state_dir or an address
	ExitLocal     = 5 // a folder is missing, a disk full or read-only, a permission lacking
	ExitDamaged   = 6 // the state_dir is damaged
	ExitNoAgent   = 7 // no agent answers on the socket
	ExitPartial   = 8 // done, but for what was listed
	ExitInterrupt = 130
)

// exitTexts explains the codes to people, in their order.
var exitTexts = []struct {
	Code int
	Text string
}{
	{ExitOK, "done"},
	{ExitError, "something failed that no other code names"},
	{ExitUsage, "wrong arguments or configuration: trying again does not help"},
	{ExitTarget, "S3 cannot be reached, or refuses the key or the bucket"},
	{ExitLocked, "another agent or program has the state_dir or an address"},
	{ExitLocal, "a folder is missing, a disk full or read-only, a permission lacking"},
	{ExitDamaged, "the state_dir is damaged"},
	{ExitNoAgent, "no agent answers on the socket"},
	{ExitPartial, "done, but for what was listed"},
	{ExitInterrupt, "interrupted"},
}

// errNoAgent and errPartial mark errors that have an exit code of their own.
var (
	errNoAgent = errors.New("no agent answers")
	errPartial = errors.New("not everything could be done")
)

// exitCode returns the code that an error ends the program with. It is the only place that knows.
func exitCode(err error) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errNoAgent):
		return ExitNoAgent
	case errors.Is(err, errPartial):
		return ExitPartial
	case errors.Is(err, context.Canceled):
		return ExitInterrupt
	}
	switch protocol.KindOf(err) {
	case protocol.KindUsage:
		return ExitUsage
	case protocol.KindTarget, protocol.KindUnreachable, protocol.KindSlow:
		return ExitTarget
	case protocol.KindLocked:
		return ExitLocked
	case protocol.KindLocal:
		return ExitLocal
	case protocol.KindDamaged:
		return ExitDamaged
	}
	return ExitError
}
