package agent

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"

	"s3apu/protocol"
)

// Load reads the file, lets the environment win over it, and checks the result with [Config.Check]. Nothing on disk is
// touched. Every error is a [protocol.Error] of KindUsage that names the file and, where there is one, line and column.
func Load(file string, environ []string) (*Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		e := usage("read the configuration", file, err)
		e.Hint = "name another with --config FILE, or make one with: s3apu-agent init"
		return nil, e
	}
	c, err := Parse(file, text)
	if err != nil {
		return nil, err
	}
	if err := c.applyEnv(environ); err != nil {
		return nil, err
	}
	c.File, c.environ = file, func() []string { return environ }
	if err := c.Check(); err != nil {
		return nil, err
	}
	return c, nil
}

// Parse decodes the text of a configuration over the [Defaults]. It neither reads the environment nor checks values
// against each other. The name is for messages only.
func Parse(name string, text []byte) (*Config, error) {
	c := Defaults()
	err := toml.NewDecoder(strings.NewReader(string(text))).DisallowUnknownFields().Decode(&c)
	if err == nil {
		err = toml.Unmarshal(text, reflect.New(writtenConfig()).Interface())
	}
	var strict *toml.StrictMissingError
	var syntax *toml.DecodeError
	switch {
	case err == nil:
	case errors.As(err, &strict) && len(strict.Errors) > 0:
		first := strict.Errors[0]
		line, col := first.Position()
		return nil, unknownKey(fmt.Sprintf("%s:%d:%d", name, line, col), first.Key())
	case errors.As(err, &syntax):
		line, col := syntax.Position()
		where := fmt.Sprintf("%s:%d:%d", name, line, col)
		if form := formOf(syntax.Key()); form != "" && strings.HasPrefix(syntax.Error(), "toml: cannot decode TOML ") {
			return nil, usage("read the configuration", where, fmt.Errorf("%s must be %s", strings.Join(syntax.Key(), "."), form))
		}
		return nil, usage("read the configuration", where, errors.New(strings.TrimPrefix(syntax.Error(), "toml: ")))
	default:
		return nil, usage("read the configuration", name, err)
	}
	for i := range c.Folders {
		f := &c.Folders[i]
		if f.Settle == 0 {
			f.Settle = defaultSettle
		}
		if f.MaxDelay == 0 {
			f.MaxDelay = defaultMaxDelay
		}
		if f.Symlinks == "" {
			f.Symlinks = defaultLinks
		}
		if f.Unresting == "" {
			f.Unresting = unrestingWait
		}
		if f.MinInterval == 0 {
			f.MinInterval = defaultInterval
		}
	}
	return &c, nil
}

// writtenConfig is [Config] as it is written in the file. Making the type costs as much as the rest of [Parse].
var writtenConfig = sync.OnceValue(func() reflect.Type { return written(reflect.TypeFor[Config]()) })

// written is t as it is written in the file: with a text wherever t has a [Duration], which the decoder would take from a
// bare number as well, and count in nanoseconds.
func written(t reflect.Type) reflect.Type {
	switch {
	case t == reflect.TypeFor[Duration]():
		return reflect.TypeFor[string]()
	case t.Kind() == reflect.Slice:
		return reflect.SliceOf(written(t.Elem()))
	case t.Kind() == reflect.Struct:
		var all []reflect.StructField
		for f := range fields(t) {
			all = append(all, reflect.StructField{Name: f.Name, Type: written(f.Type), Tag: f.Tag})
		}
		return reflect.StructOf(all)
	}
	return t
}

// formOf says in words how the value of a key is written, or "" where the key is not known.
func formOf(key []string) string {
	t := reflect.TypeFor[Config]()
	for _, name := range key {
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return ""
		}
		f, ok := fieldByKey(t, name)
		if !ok {
			return ""
		}
		t = f.Type
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[Duration]():
		return `a length of time in quotes, such as "500ms", "2s" or "1h30m"`
	case t.Kind() == reflect.Int:
		return "a whole number without quotes"
	case t.Kind() == reflect.Bool:
		return "true or false, without quotes"
	case t.Kind() == reflect.String:
		return `a text in quotes`
	case t == reflect.TypeFor[[]string]():
		return `a list such as ["a", "b"]`
	}
	return ""
}

// usage makes the error that every fault of the configuration ends in.
func usage(op, object string, err error) *protocol.Error {
	return &protocol.Error{Op: op, Object: object, Kind: protocol.KindUsage, Err: err}
}

// unknownKey names the key and what could have stood there.
func unknownKey(where string, key toml.Key) error {
	e := usage("read the configuration", where, fmt.Errorf("unknown key %q", strings.Join(key, ".")))
	if known := knownKeys(key[:len(key)-1]); len(known) > 0 {
		e.Hint = "known here: " + strings.Join(known, " ")
	}
	return e
}

// knownKeys lists the keys of the table at path, which is empty for the top.
func knownKeys(path []string) []string {
	t := reflect.TypeFor[Config]()
	for _, name := range path {
		f, ok := fieldByKey(t, name)
		if !ok {
			return nil
		}
		t = f.Type
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
	}
	var keys []string
	for f := range fields(t) {
		keys = append(keys, f.Tag.Get("toml"))
	}
	slices.Sort(keys)
	return keys
}

// fields yields the fields of a struct type that have a key of their own.
func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.Tag.Get("toml") != "-" && f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for f := range fields(t) {
		if f.Tag.Get("toml") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// EnvPrefix begins the name of every environment variable that stands for a key: S3APU_S3_SECRET_ACCESS_KEY for
// secret_access_key in [s3], S3APU_STATE_DIR for state_dir. Lists are separated by commas. Folders have none.
const EnvPrefix = "S3APU_"

// applyEnv sets every scalar and list for which the environment has a variable.
func (c *Config) applyEnv(environ []string) error {
	env := make(map[string]string)
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, EnvPrefix) {
			env[strings.TrimPrefix(name, EnvPrefix)] = value
		}
	}
	if err := applyEnvTo(reflect.ValueOf(c).Elem(), "", env); err != nil {
		return err
	}
	return checkEnv(env)
}

// checkEnv refuses a variable that names a section but none of its keys. Others may be about something else.
func checkEnv(env map[string]string) error {
	for section := range fields(reflect.TypeFor[Config]()) {
		if section.Type.Kind() != reflect.Struct {
			continue
		}
		table := section.Tag.Get("toml")
		for name := range env {
			key, ok := strings.CutPrefix(name, strings.ToUpper(table)+"_")
			if !ok {
				continue
			}
			if _, known := fieldByKey(section.Type, strings.ToLower(key)); !known {
				e := usage("read the environment", EnvPrefix+name, fmt.Errorf("[%s] has no key %q", table, strings.ToLower(key)))
				e.Hint = "known there: " + strings.Join(knownKeys([]string{table}), " ")
				return e
			}
		}
	}
	return nil
}

func applyEnvTo(v reflect.Value, prefix string, env map[string]string) error {
	for f := range fields(v.Type()) {
		name := prefix + strings.ToUpper(f.Tag.Get("toml"))
		field := v.FieldByIndex(f.Index)
		if field.Kind() == reflect.Struct {
			if err := applyEnvTo(field, name+"_", env); err != nil {
				return err
			}
			continue
		}
		text, ok := env[name]
		if !ok {
			continue
		}
		if err := setText(field, text); err != nil {
			return usage("read the environment", EnvPrefix+name, err)
		}
	}
	return nil
}

// setText gives a field the value that the text says.
func setText(field reflect.Value, text string) error {
	if u, ok := field.Addr().Interface().(interface{ UnmarshalText([]byte) error }); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		field.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		field.SetInt(int64(n))
	case reflect.Slice:
		if field.Type().Elem().Kind() != reflect.String {
			return errors.New("cannot be set from the environment")
		}
		var list []string
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		field.Set(reflect.ValueOf(list))
	default:
		return errors.New("cannot be set from the environment")
	}
	return nil
}
