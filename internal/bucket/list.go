package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"

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
	reader    pageReader

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
	out, err := l.b.api.ListObjectsV2(ctx, in, s3.WithAPIOptions(l.reader.option))
	if err != nil {
		return page{err: l.b.fail(ctx, opList, l.prefix, err)}, nil
	}
	got := l.reader.page
	if got == nil {
		got, err = fromSDK(out)
	}
	var objects []protocol.Object
	if err == nil {
		objects, err = l.merge(got)
	}
	if err != nil {
		return page{err: l.b.unreadable(opList, l.prefix, err)}, nil
	}
	if !got.more {
		return page{objects: objects}, nil
	}
	if got.token == "" || len(objects) == 0 && got.token == deref(in.ContinuationToken) {
		return page{err: l.b.unreadable(opList, l.prefix, errors.New("the listing breaks off: the server says that there is more, but not where"))}, nil
	}
	return page{objects: objects}, &got.token
}

// fromSDK is a page that the SDK has read.
func fromSDK(out *s3.ListObjectsV2Output) (*listed, error) {
	l := &listed{more: aws.ToBool(out.IsTruncated), token: deref(out.NextContinuationToken)}
	for i := range out.Contents {
		c := &out.Contents[i]
		key, err := unescape(c.Key, out.EncodingType)
		if err != nil {
			return nil, err
		}
		l.objects = append(l.objects, protocol.Object{Key: protocol.Key(key), Size: aws.ToInt64(c.Size), ETag: trimETag(c.ETag),
			Modified: aws.ToTime(c.LastModified)})
	}
	for i := range out.CommonPrefixes {
		key, err := unescape(out.CommonPrefixes[i].Prefix, out.EncodingType)
		if err != nil {
			return nil, err
		}
		l.folders = append(l.folders, key)
	}
	return l, nil
}

// merge puts the objects and common prefixes of an answer into one order, and leaves out what was there before: a server
// may repeat a common prefix on the next page.
func (l *listing) merge(in *listed) ([]protocol.Object, error) {
	objects, c, f := in.objects[:0], in.objects, in.folders
	if len(f) > 0 {
		objects = make([]protocol.Object, 0, len(c)+len(f))
	}
	for len(c) > 0 || len(f) > 0 {
		var o protocol.Object
		if len(c) > 0 && (len(f) == 0 || string(c[0].Key) < f[0]) {
			o, c = c[0], c[1:]
		} else {
			o, f = protocol.Object{Key: protocol.Key(f[0]), Folder: true}, f[1:]
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
	return objects, nil
}
