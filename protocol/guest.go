package protocol

import (
	"errors"
	"strconv"
	"strings"
)

// Guest is a client with rights of its own to be respected: neither root, nor the agent's own user, nor one that has shown
// the token. It says who may have read what the client names, as "UID:GID,GID,…" or, where the groups are not known, "UID".
// It goes with the client's uploads through the queue, for the file is judged when it is read, which may be hours later.
// Empty is nobody in particular: the agent's own rights decide.
type Guest string

// maxGroups bounds what is kept of a client's groups; a client of more is one whose groups are not known. A guess: many
// times what people have.
const maxGroups = 256

// NewGuest names a guest; known says that gids are all of its groups, the effective one included.
func NewGuest(uid uint32, gids []uint32, known bool) Guest {
	b := strconv.AppendUint(nil, uint64(uid), 10)
	if !known || len(gids) > maxGroups {
		return Guest(b)
	}
	sep := byte(':')
	for _, g := range gids {
		b = strconv.AppendUint(append(b, sep), uint64(g), 10)
		sep = ','
	}
	return Guest(b)
}

// User returns the parts of a guest, which is not empty.
func (g Guest) User() (uid uint32, gids []uint32, known bool, err error) {
	first, rest, known := strings.Cut(string(g), ":")
	list := []string{first}
	if known {
		list = append(list, strings.Split(rest, ",")...)
	}
	ids := make([]uint32, len(list))
	for i, text := range list {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil || strconv.FormatUint(id, 10) != text {
			return 0, nil, false, errGuest
		}
		ids[i] = uint32(id)
	}
	return ids[0], ids[1:], known, nil
}

var (
	errGuest     = errors.New("it is not a user with groups")
	errNotGuests = errors.New("this request is for root, the agent's own user and holders of the token")
	errNoGuests  = errors.New("no rule lets guests do that")
)

// mayAsk reports whether a guest may make this request.
func (s *Server) mayAsk(verb string) bool {
	switch verb {
	case "mkd", "upl", "cpo", "del", "inf", "tok":
		return true
	case "get", "lse", "ack", "nak":
		return s.GuestsWork
	}
	return false
}

// checkGuest applies CheckGuest, and has the upload go under the guest's name.
func (s *Server) checkGuest(g Guest, in *Instruction) error {
	if g == "" {
		return nil
	}
	if s.CheckGuest == nil {
		return errNoGuests
	}
	if in.Verb == Upl {
		in.Guest = g
	}
	return s.CheckGuest(g, *in)
}
