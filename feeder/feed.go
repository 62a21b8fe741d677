package feeder

import (
	"context"
	"errors"
	"iter"
	"path/filepath"
	"strings"
	"time"

	"s3apu/protocol"
)

// FeedOptions are the arguments of S3 APU's util_feed, and where what it finds goes.
type FeedOptions struct {
	Root    string // FEED_ROOT: the folder whose contents are fed, never the folder itself
	KeyRoot string // KEY_ROOT: what the keys begin with, without a slash at the end; may be empty

	// Recursion is RECURSION: 0 all the way, 1 only what lies in Root itself, n down to that depth. Of a folder at the
	// last level only the folder is fed. S3 APU's default is 1.
	Recursion int

	// CheckMissing is CHECK_MISSING: feed only what the bucket has nothing for under that name. Names are compared, nothing
	// else. A folder counts as there if there is an object of its name, with or without a slash, or anything below it.
	CheckMissing bool

	// Put takes the instructions, some hundreds at a time, in the form of the wire: the key of mkd without a slash,
	// absolute sources, no bucket. The slice is used again after it returns.
	Put func(ctx context.Context, ins []protocol.Instruction) error

	// List is asked once, for everything below KeyRoot (with a delimiter if Recursion is 1). If it is nil or fails, what
	// has not been listed is taken to be missing.
	List Lister

	// Failed hears of every path that cannot be fed: a name that cannot be a key, a folder that cannot be read. Nil:
	// they are counted only.
	Failed func(path string, err *protocol.Error)
}

// Feed walks a folder and puts mkd for every sub-folder and upl for every file, a folder before what is in it. Links and
// special files are skipped. It is [Feeder.Scan] without a ledger: nothing is deleted, what changed is not known, and
// what else is in the bucket is not counted.
// Errors are of KindUsage (bad arguments), KindLocal (the folder cannot be read), those of Put, and of the context.
func Feed(ctx context.Context, opt FeedOptions) (Report, error) {
	f, err := newFeed(opt)
	if err != nil {
		return Report{}, err
	}
	began := time.Now()
	err = f.run(ctx)
	f.report.Took = time.Since(began)
	return f.report, err
}

// feed is one Feed under way.
type feed struct {
	FeedOptions
	prefix string
	report Report
	objs   *stream[protocol.Object] // nil: no names are compared, or no more
	plain  map[string]struct{}      // folders for which there is an object without a slash, until they are reached
	ins    []protocol.Instruction
	bytes  int64
}

func newFeed(opt FeedOptions) (*feed, error) {
	usage := func(object string, err error) error {
		return &protocol.Error{Op: "feed", Object: object, Kind: protocol.KindUsage, Err: err}
	}
	if opt.Recursion < 0 {
		return nil, usage("", errors.New("RECURSION is a number from 0 on"))
	}
	if opt.Put == nil {
		return nil, usage("", errors.New("there is nowhere to put instructions"))
	}
	prefix, err := keyPrefix(opt.KeyRoot)
	if err != nil {
		return nil, usage(opt.KeyRoot, err)
	}
	if opt.Root == "" {
		return nil, usage("", errors.New("FEED_ROOT is missing"))
	}
	if opt.Root, err = filepath.Abs(opt.Root); err != nil {
		return nil, usage(opt.Root, err)
	}
	return &feed{FeedOptions: opt, prefix: prefix, plain: map[string]struct{}{}}, nil
}

func (f *feed) run(ctx context.Context) error {
	if err := readable(f.Root, ""); err != nil {
		return denied("feed", f.Root, err)
	}
	if f.CheckMissing {
		f.list(ctx)
	}
	defer f.unlist()
	w := walker{root: f.Root, prefix: f.prefix, layout: plain, match: func(string, bool) bool { return true }}
	w.visit = func(w *found) error { return f.visit(ctx, w) }
	if err := w.walk(ctx, "", f.Recursion); err != nil {
		if ctx.Err() == nil {
			err = protocol.AsError(err, "feed", f.Root)
		}
		return err
	}
	return f.flush(ctx)
}

// list begins the listing.
func (f *feed) list(ctx context.Context) {
	if f.List == nil {
		f.degrade(errors.New("there is no listing"))
		return
	}
	delimiter := ""
	if f.Recursion == 1 {
		delimiter = "/"
	}
	f.objs = &stream[protocol.Object]{base: f.prefix, keyOf: func(o protocol.Object) protocol.Key { return o.Key },
		open: func(after protocol.Key) iter.Seq2[protocol.Object, error] {
			return f.List.List(ctx, protocol.Key(f.prefix), delimiter, after)
		}}
	f.degrade(f.objs.start())
}

func (f *feed) unlist() {
	if f.objs != nil {
		f.objs.close()
	}
}

func (f *feed) degrade(err error) {
	if err != nil {
		f.unlist()
		f.objs = nil
		f.report.Degraded = protocol.AsError(err, "list", f.KeyRoot)
	}
}

// has reports whether something of that name is listed. Names are asked for in key order. For a name with a slash at its
// end, anything below it will do.
func (f *feed) has(key string) bool {
	has := false
	for f.objs != nil && f.objs.ok {
		head := f.objs.key
		switch {
		case head == key || strings.HasSuffix(key, "/") && strings.HasPrefix(head, key):
			has = true
			if head != key {
				return true
			}
		case head > key:
			return has
		}
		f.degrade(f.objs.advance())
	}
	return has
}

func (f *feed) visit(ctx context.Context, w *found) error {
	switch w.kind {
	case special:
		f.report.Skipped++
	case swapped:
		f.report.Busy++
	case odd:
		f.fail(w.rel, &protocol.Error{Op: "feed", Kind: protocol.KindItem, Err: w.err, Hint: "rename it"})
	case blind, unseen:
		f.fail(w.rel, denied("feed", "", w.err))
	case aFolder: // where an object without a slash sorts
		if f.has(w.key) {
			f.plain[w.key] = struct{}{}
		}
	case inside:
		f.report.Seen++
		key := strings.TrimSuffix(w.key, "/")
		_, has := f.plain[key]
		delete(f.plain, key)
		if has = f.has(w.key) || has; !has {
			return f.put(ctx, protocol.Instruction{Verb: protocol.Mkd, Key: protocol.Key(key)})
		}
	case aFile:
		f.report.Seen++
		if !f.has(w.key) {
			f.bytes += w.stat.Size
			return f.put(ctx, protocol.Instruction{Verb: protocol.Upl, Key: protocol.Key(w.key), Source: joinPath(f.Root, w.rel)})
		}
	}
	return nil
}

func (f *feed) fail(rel string, err *protocol.Error) {
	f.report.Failed++
	err.Object = display(joinPath(f.Root, rel))
	if f.Failed != nil {
		f.Failed(joinPath(f.Root, rel), err)
	}
}

func (f *feed) put(ctx context.Context, ins protocol.Instruction) error {
	f.ins = append(f.ins, ins)
	if len(f.ins) < scanBatch {
		return nil
	}
	return f.flush(ctx)
}

func (f *feed) flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil || len(f.ins) == 0 {
		return err
	}
	if err := f.Put(ctx, f.ins); err != nil {
		return protocol.AsError(err, "put instructions", f.Root)
	}
	f.report.Sent += int64(len(f.ins))
	f.report.Bytes += f.bytes
	f.ins, f.bytes = f.ins[:0], 0
	return nil
}
