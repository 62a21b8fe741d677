package agent

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written as "500ms", "2s", "1h30m".
type Duration time.Duration

// UnmarshalText reads what [time.ParseDuration] reads; a negative length is an error.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf(`%q is not a length of time such as "500ms", "2s" or "1h30m"`, text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the shortest of the forms that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return []byte(s), nil
}

// D returns the length as the standard library counts it.
func (d Duration) D() time.Duration { return time.Duration(d) }

// Override is a number that takes the place of what each file has, or "" for the file's own.
type Override string

// UnmarshalText keeps the text; [Override.number] reads it when the configuration is checked.
func (o *Override) UnmarshalText(text []byte) error {
	*o = Override(text)
	return nil
}

// number reads the override in the given base; nil means the file's own.
func (o Override) number(base int) (*uint32, error) {
	if o == "" {
		return nil, nil
	}
	v, err := strconv.ParseUint(string(o), base, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number in base %d", string(o), base)
	}
	n := uint32(v)
	return &n, nil
}
