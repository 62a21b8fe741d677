package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"s3apu/protocol"
)

// List yields the objects whose keys begin with prefix and come behind after, in key order, which is the order of
// bytes. With a delimiter, everything that has it behind prefix is one object with Folder set, each once. Keys may hold
// any byte.
//
// A page is fetched while the one before it is consumed; memory is that of two pages, and the request under way has
// ended when the iteration has. An error ends it; a listing that is not in order is one (KindDamaged), as a merge with
// it would take objects for missing.
func (b *Bucket) List(ctx context.Context, prefix protocol.Key, delimiter string, after protocol.Key) iter.Seq2[protocol.Object, error] {
	return func(yield func(protocol.Object, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		l := &listing{b: b, prefix: prefix, delimiter: delimiter, after: after, pages: make(chan page)}
		go l.fetch(ctx)
		defer func() {
			cancel()
			for range l.pages { // until fetch has closed it
			}
		}()
		for p := range l.pages {
			if p.err != nil {
				yield(protocol.Object{}, p.err)
				return
			}
			for _, o := range p.objects {
				if !yield(o, nil) {
					return
				}
			}
		}
		if err := ctx.Err(); err != nil {
			yield(protocol.Object{}, b.fail(ctx, opList, prefix, err))
		}
	}
}

const opList = "list"

// page is a piece of a listing: objects in order, or what ended it.
type page struct {
	objects []protocol.Object
	err     error
}

// listing fetches pages one ahead of who takes them.
type listing struct {
	b         *Bucket
	prefix    protocol.Key
	delimiter string
	after     protocol.Key
	pages     chan page

	last    protocol.Key // the last key given out
	started bool         // last is set
}

// fetch sends page after page, and closes the channel behind the last or when ctx ends.
func (l *listing) fetch(ctx context.Context) {
	defer close(l.pages)
	in := &s3.ListObjectsV2Input{
		Bucket:       &l.b.name,
		Prefix:       emptyTo(string(l.prefix)),
		Delimiter:    emptyTo(l.delimiter),
		StartAfter:   emptyTo(string(l.after)),
		EncodingType: types.EncodingTypeUrl,
	}
	if l.b.cfg.ListPage > 0 {
		in.MaxKeys = &l.b.cfg.ListPage
	}
	for {
		p, next := l.one(ctx, in)
		select {
		case l.pages <- p:
		case <-ctx.Done():
			return
		}
		if p.err != nil || next == nil {
			return
		}
		in.ContinuationToken = next
	}
}

// one fetches a page and returns it with the token of the next, which is nil for the last.
func (l *listing) one(ctx context.Context, in *s3.ListObjectsV2Input) (page, *string) {
	out, err := l.b.api.ListObjectsV2(ctx, in)
	if err != nil {
		return page{err: l.b.fail(ctx, opList, l.prefix, err)}, nil
	}
	objects, err := l.merge(out)
	if err != nil {
		return page{err: l.b.unreadable(opList, l.prefix, err)}, nil
	}
	if out.IsTruncated == nil || !*out.IsTruncated {
		return page{objects: objects}, nil
	}
	next := out.NextContinuationToken
	if deref(next) == "" || len(objects) == 0 && deref(next) == deref(in.ContinuationToken) {
		return page{err: l.b.unreadable(opList, l.prefix, errors.New("the listing breaks off: the server says that there is more, but not where"))}, nil
	}
	return page{objects: objects}, next
}

// merge puts the objects and common prefixes of an answer into one order, and leaves out what was there before: a server
// may repeat a common prefix on the next page.
func (l *listing) merge(out *s3.ListObjectsV2Output) ([]protocol.Object, error) {
	objects := make([]protocol.Object, 0, len(out.Contents)+len(out.CommonPrefixes))
	c, f := out.Contents, out.CommonPrefixes
	var ckey, fkey string
	var haveC, haveF bool
	for {
		var err error
		if !haveC && len(c) > 0 {
			if ckey, err = unescape(c[0].Key, out.EncodingType); err != nil {
				return nil, err
			}
			haveC = true
		}
		if !haveF && len(f) > 0 {
			if fkey, err = unescape(f[0].Prefix, out.EncodingType); err != nil {
				return nil, err
			}
			haveF = true
		}
		var o protocol.Object
		switch {
		case haveC && (!haveF || ckey < fkey):
			o = protocol.Object{Key: protocol.Key(ckey), Size: aws.ToInt64(c[0].Size), ETag: trimETag(c[0].ETag), Modified: aws.ToTime(c[0].LastModified)}
			c, haveC = c[1:], false
		case haveF:
			o = protocol.Object{Key: protocol.Key(fkey), Folder: true, Modified: time.Time{}}
			f, haveF = f[1:], false
		default:
			return objects, nil
		}
		if l.started && o.Key <= l.last {
			if o.Key == l.last {
				continue
			}
			return nil, fmt.Errorf("the listing is not in the order of keys: %q comes behind %q", o.Key, l.last)
		}
		l.last, l.started = o.Key, true
		objects = append(objects, o)
	}
}
