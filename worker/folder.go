package worker

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"strings"
	"time"

	"s3apu/internal/failpoint"
	"s3apu/protocol"
)

// folder makes a folder object: 0 bytes with the metadata of the folder that it stands for.
func (h *hand) folder(ctx context.Context, d *protocol.Delivery) (done, *protocol.Error) {
	if h.p.cfg.FolderObjects == FolderNone {
		return done{keep: true}, nil
	}
	state := h.p.cfg.plainFolder(time.Now())
	if d.Source != "" {
		var e *protocol.Error
		state, e = h.p.cfg.stateOf(d.Key, d.Source, d.Hint)
		if e != nil && e.Kind != protocol.KindVanished && d.Hint && linked(e) {
			return done{keep: true}, nil // a link has come: another hint
		}
		if e != nil {
			return done{}, e
		}
		if !state.IsFolder() {
			if d.Hint {
				return done{keep: true, moot: true}, nil // the folder has gone; what took its place is another hint
			}
			return done{}, &protocol.Error{Op: "read", Object: d.Source, Kind: protocol.KindItem, Err: reason("it is not a folder")}
		}
	}
	if k := d.Known; d.Hint && k != nil && k.Verb == protocol.Mkd && k.Source == d.Source &&
		(d.Source == "" || k.SameAttributes(state)) {
		return done{keep: true}, nil
	}
	key, head, sum := h.p.cfg.folderKey(d.Key), h.p.cfg.headers(folderType, state), md5.Sum(nil)
	row := &protocol.Entry{Bucket: d.Bucket, Key: d.Key, Verb: protocol.Mkd, Source: d.Source, Stat: state}
	if d.Again { // an earlier hand may have made it
		o, e := h.arrived(ctx, d, key, head, 0, hex.EncodeToString(sum[:]))
		if e != nil {
			return done{}, e
		}
		if o != nil {
			return made(row, protocol.Receipt{ETag: o.ETag, VersionID: o.VersionID}), nil
		}
	}
	r, e := h.put(ctx, d, key, head, bytes.NewReader(nil), 0, sum)
	if e != nil {
		return done{}, e
	}
	return made(row, r), nil
}

// copyObject copies within S3. Metadata go with the object.
func (h *hand) copyObject(ctx context.Context, d *protocol.Delivery) (done, *protocol.Error) {
	from, err := protocol.ParseObjectID(d.Source)
	if err != nil {
		return done{}, &protocol.Error{Op: "copy", Object: d.Source, Kind: protocol.KindItem, Err: err}
	}
	c := writing
	if from.Bucket != h.p.cfg.Bucket {
		c = copying
	}
	var r protocol.Receipt
	e := h.request(c, "copy", d, func() (err error) {
		failpoint.Here("worker.copy")
		r, err = h.p.store.Copy(ctx, from, d.Key, nil, "")
		failpoint.Here("worker.copied")
		return err
	})
	if e != nil {
		return done{}, e
	}
	return made(&protocol.Entry{Bucket: d.Bucket, Key: d.Key, Verb: protocol.Cpo, Source: d.Source}, r), nil
}

// remove deletes an object. A hint deletes only what the ledger says is ours and what nobody else has overwritten since, and
// only if what it was made from is still gone: the hint may have waited for hours.
func (h *hand) remove(ctx context.Context, d *protocol.Delivery) (done, *protocol.Error) {
	key := d.Key
	if d.Known != nil && d.Known.Verb == protocol.Mkd && h.p.cfg.FolderObjects != FolderNone {
		key = h.p.cfg.folderKey(key)
	}
	if d.Hint {
		if d.Known == nil && d.Again {
			return h.orphan(ctx, d)
		}
		if d.Known == nil {
			return done{keep: true}, nil
		}
		if h.p.cfg.keeps(d.Key, d.Known.Source) {
			return done{keep: true}, nil // it is told so since the delete was put
		}
		ours, e := h.isOurs(ctx, d, key)
		if e != nil {
			return done{}, e
		}
		back, e := h.p.cfg.isBack(d.Known)
		if e != nil {
			return done{}, e
		}
		if back {
			return done{keep: true}, nil
		}
		// After the look: what was seen to be gone may be unmounted.
		if e := h.mayGo(d.Key, d.Known.Source); e != nil {
			return done{}, e
		}
		if !ours { // said once, for the row goes
			h.p.stats.foreign.Add(1)
			h.p.cfg.Log.Warn("the object of a file that is gone was written by somebody else, and stays", "key", string(key))
			return done{}, nil
		}
	}
	failpoint.Here("worker.delete")
	e := h.request(deleting, "delete", d, func() error { return h.p.store.Delete(ctx, key) })
	failpoint.Here("worker.deleted")
	if e != nil && e.Kind != protocol.KindNotFound {
		return done{}, e
	}
	return done{}, nil
}

// isOurs reports whether what lies at the key of d's row is as we left it, or somebody else has written it since. An object
// of ours whose answer was lost is another one than the row says, and bears our mark. An ETag proves the content and not who
// sent it: who wrote the same bytes loses them. Where nothing lies the delete is sent all the same: a bucket that is away for a
// while looks like that, too, and only the delete tells.
func (h *hand) isOurs(ctx context.Context, d *protocol.Delivery, key protocol.Key) (bool, *protocol.Error) {
	if d.Known.ETag == "" {
		return true, nil // nothing to compare: the server gave none
	}
	o, e := h.lookFirst(ctx, d, key)
	if e != nil || o == nil {
		return true, e
	}
	_, ours := sentByUs(d, o)
	return ours || strings.EqualFold(o.ETag, d.Known.ETag), nil
}

// lookFirst returns the object that is about to be deleted, or nil if nothing lies there. A refusal counts as one of the delete,
// or nobody would learn that deletes do not go on; that the look succeeds proves nothing about deletes.
func (h *hand) lookFirst(ctx context.Context, d *protocol.Delivery, key protocol.Key) (*protocol.Object, *protocol.Error) {
	h.class = deleting
	h.requests++
	began := time.Now()
	o, err := h.p.store.Head(ctx, key)
	switch {
	case err == nil:
		return o, nil
	case protocol.KindOf(err) == protocol.KindNotFound:
		return nil, nil
	}
	return nil, h.p.refusal(deleting, "look at", d.ID(), began, err)
}

// orphan deals with a key that the ledger does not know, but which an earlier hand may have written without our learning
// of it, for a file that has gone since. What lies there is deleted if it bears the mark of such a hand, unchanged.
func (h *hand) orphan(ctx context.Context, d *protocol.Delivery) (done, *protocol.Error) {
	o, e := h.lookFirst(ctx, d, d.Key)
	if e == nil && o == nil { // a bucket that is away for a while looks like that, too
		e = h.request(reading, "look at the bucket of", d, func() error { return h.p.store.Probe(ctx) })
	}
	if e != nil || o == nil || !sentBy(d, o) {
		return done{keep: true}, e
	}
	source := h.p.cfg.sourceOf(d)
	if h.p.cfg.keeps(d.Key, source) {
		return done{keep: true}, nil
	}
	if e := h.mayGo(d.Key, source); e != nil {
		return done{}, e
	}
	e = h.request(deleting, "delete", d, func() error { return h.p.store.Delete(ctx, d.Key) })
	return done{}, e
}

// mayGo reports why what was uploaded from source must not be deleted now, or nil.
func (h *hand) mayGo(key protocol.Key, source string) *protocol.Error {
	if h.p.cfg.MayGo == nil || source == "" {
		return nil
	}
	err := h.p.cfg.MayGo(source)
	if err == nil {
		return nil
	}
	e := *protocol.AsError(err, "delete", string(key))
	e.Kind = protocol.KindLocal
	return &e
}

// isBack reports whether what a row was made from is there again, as the same kind of thing. Whether it has changed is
// another hint's matter. An error means that it cannot be told, and then nothing is deleted; nor is anything to which the
// way leads through a link by now: nobody has seen it gone.
func (c *Config) isBack(row *protocol.Entry) (bool, *protocol.Error) {
	if row.Verb != protocol.Upl && row.Verb != protocol.Mkd || row.Source == "" {
		return false, nil
	}
	at, e := c.at(row.Key, row.Source, true)
	var st protocol.Stat
	if e == nil {
		defer at.close()
		st, e = at.lstat()
	}
	switch {
	case e == nil:
		file := st.IsFile() || at.stored(st)
		return row.Verb == protocol.Upl && file || row.Verb == protocol.Mkd && st.IsFolder(), nil
	case e.Kind == protocol.KindVanished:
		return false, nil
	case linked(e):
		return true, nil
	}
	return false, e
}
