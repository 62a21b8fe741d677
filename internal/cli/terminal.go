package cli

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
)

// isTerminal reports whether a person may be looking at what is written: a device, and neither a pipe nor a file.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// deceives reports whether a terminal might do something else with the letter than show it: control characters, which can
// move the cursor and more, and those that turn the direction of writing, with which "exe.txt" can be made of "txt.exe".
func deceives(r rune) bool {
	return r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}

// name is a name as it is to be printed: as it is, or quoted where a person looks at it and it could deceive.
func (c *call) name(s string) string {
	if c.terminal && strings.ContainsFunc(s, deceives) {
		return strconv.Quote(s)
	}
	return s
}

// text is a sentence, which may hold names, as it is to be printed: with escapes for single letters in place of quotes.
func (c *call) text(s string) string {
	if c.terminal {
		return visible(s)
	}
	return s
}

// visible writes letters that could deceive as they are written in Go.
func visible(s string) string {
	if !strings.ContainsFunc(s, deceives) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if q := strconv.QuoteRune(r); deceives(r) {
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
