package cli

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"s3apu/agent"
	"s3apu/protocol"
)

const listHelp = `
PREFIX   the folder to list, without a trailing "/"; empty, the default, lists the bucket
LIMIT    how many keys at the most; 0, the default, for all. A single number alone is the LIMIT
BUCKET   another bucket than the configured one`

// runList is util_list and "s3apu-agent list": the names directly in a folder, folders without their slash.
func runList(ctx context.Context, c *call) error { return list(ctx, c, "/") }

// runListAll is util_list_noseparator: every key below a prefix, as they are.
func runListAll(ctx context.Context, c *call) error { return list(ctx, c, "") }

func list(ctx context.Context, c *call, delimiter string) error {
	prefix, limit, bucketName, err := listArguments(c.args)
	if err != nil {
		return err
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	if bucketName == "" {
		bucketName = cfg.S3.Bucket
	}
	b, err := agent.OpenBucket(ctx, cfg, bucketName)
	if err != nil {
		return err
	}
	defer b.Close()
	out := bufio.NewWriter(c.Out)
	printed := 0
	var plain []string // objects printed whose names a common prefix may still repeat
	for o, err := range b.List(ctx, protocol.Key(prefix), delimiter, "") {
		if err != nil {
			_ = out.Flush() // what is known so far
			return err
		}
		name := string(o.Key)
		if delimiter != "" {
			if name == prefix {
				continue // the folder itself is not one of its entries
			}
			plain = slices.DeleteFunc(plain, func(p string) bool { return p+delimiter < name })
			name = strings.TrimSuffix(name, delimiter)
			if slices.Contains(plain, name) {
				continue // the folder object "a" of the plain layout and the common prefix "a/"
			}
			if !o.Folder {
				plain = append(plain, name)
			}
		}
		fmt.Fprintln(out, c.name(name))
		if printed++; limit > 0 && printed == limit {
			break
		}
	}
	return out.Flush()
}

// listArguments reads PREFIX [LIMIT] [BUCKET]; a number alone is the LIMIT, as in S3 APU.
func listArguments(args []string) (prefix string, limit int, bucket string, err error) {
	if len(args) > 3 {
		return "", 0, "", usageError("read the arguments", "", "PREFIX, LIMIT and BUCKET are all there is")
	}
	args = append(slices.Clone(args), "", "", "")[:3]
	if n, e := strconv.Atoi(args[0]); e == nil && args[1] == "" && n >= 0 {
		return "", n, "", nil
	}
	if args[0] != "" && !strings.HasSuffix(args[0], "/") {
		args[0] += "/"
	}
	if args[1] != "" {
		if limit, err = strconv.Atoi(args[1]); err != nil || limit < 0 {
			return "", 0, "", usageError("read the arguments", "LIMIT", "%q is not a number from 0 up", args[1])
		}
	}
	return strings.TrimPrefix(args[0], "/"), limit, args[2], nil
}

// runMeta is util_get_meta and "s3apu-agent meta": the headers of a HEAD, one "Name: value" a line.
func runMeta(ctx context.Context, c *call) error {
	if len(c.args) != 1 {
		return usageError("read the arguments", "", "one KEY is needed")
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	b, err := agent.OpenBucket(ctx, cfg, cfg.S3.Bucket)
	if err != nil {
		return err
	}
	defer b.Close()
	o, err := b.Head(ctx, protocol.Key(c.args[0]))
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Header)) {
		for _, value := range o.Header[name] {
			fmt.Fprintf(c.Out, "%s: %s\n", c.name(name), c.name(value))
		}
	}
	return nil
}
