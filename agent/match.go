package agent

import (
	"fmt"
	"strings"

	"github.com/gobwas/glob"
)

// Match decides which paths below a folder take part. A path is excluded if it, or a folder above it, matches an
// exclude pattern; a file also if there are include patterns and it matches none of them. Safe for concurrent use.
//
// In a pattern "*" and "?" stay within one name, "**" crosses folders, "[a-z]" and "{a,b}" choose. A pattern that begins
// with "**/" also matches at the top: "**/*.tmp" excludes every .tmp file.
type Match struct {
	include, exclude []*glob.Pattern
}

// NewMatch compiles the patterns; the error names the bad one.
func NewMatch(include, exclude []string) (*Match, error) {
	m := new(Match)
	for _, p := range []struct {
		key  string
		from []string
		to   *[]*glob.Pattern
	}{{"include", include, &m.include}, {"exclude", exclude, &m.exclude}} {
		for _, pattern := range p.from {
			globs, err := compile(pattern)
			if err != nil {
				return nil, fmt.Errorf("%s pattern %q: %w", p.key, pattern, err)
			}
			*p.to = append(*p.to, globs...)
		}
	}
	return m, nil
}

func compile(pattern string) ([]*glob.Pattern, error) {
	if pattern == "" {
		return nil, fmt.Errorf("it is empty")
	}
	forms := []string{strings.TrimSuffix(pattern, "/")}
	if rest, ok := strings.CutPrefix(forms[0], "**/"); ok {
		forms = append(forms, rest)
	}
	var globs []*glob.Pattern
	for _, form := range forms {
		g, err := glob.Compile(form, '/')
		if err != nil {
			return nil, err
		}
		globs = append(globs, g)
	}
	return globs, nil
}

// Has reports whether the path (slash-separated, below the folder) takes part. It expects that the folders above it
// were asked for first, as a walk does; [Match.HasAll] asks for them too.
func (m *Match) Has(rel string, folder bool) bool {
	if matches(m.exclude, rel) {
		return false
	}
	return folder || len(m.include) == 0 || matches(m.include, rel)
}

// HasAll reports whether the path and every folder above it take part.
func (m *Match) HasAll(rel string, folder bool) bool {
	for i, c := range rel {
		if c == '/' && !m.Has(rel[:i], true) {
			return false
		}
	}
	return m.Has(rel, folder)
}

func matches(globs []*glob.Pattern, rel string) bool {
	for _, g := range globs {
		if g.Match(rel) {
			return true
		}
	}
	return false
}
