package watcher

import (
	"errors"
	"syscall"
)

// twinError says that a folder lies at two paths and is watched under the other one.
type twinError string

// Error implements error.
func (e twinError) Error() string { return "the same folder is watched as " + string(e) }

// scarce reports whether err is the want of watches, of kernel queues or of open files.
func scarce(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// complaint is one reason why folders are polled. It is said once, until every folder is watched again.
type complaint struct {
	path string // the first one
	err  error
	said bool
}

func (c *complaint) note(path string, err error) {
	if c.err == nil {
		c.path, c.err = path, err
	}
}

// note keeps why a folder has no watch or no listing, to be said when the visit is over and the number is known.
func (k *keeper) note(path string, err error) {
	if scarce(err) {
		k.want.note(path, err)
	} else {
		k.bad.note(path, err)
	}
}

// complain says what is new about folders that are polled, and, where a setting would cure it, which.
func (k *keeper) complain() {
	missing := len(k.w.table.polled)
	log := k.w.cfg.Log
	if missing == 0 {
		if k.want.said || k.bad.said {
			log.Info("every folder is watched again", "folder", k.w.cfg.Root)
		}
		k.want, k.bad = complaint{}, complaint{}
		return
	}
	if c := &k.want; c.err != nil && !c.said {
		c.said = true
		log.Warn("not enough watches: some folders are polled", "folder", k.w.cfg.Root, "folders", k.w.table.scarce,
			"every", k.w.cfg.Poll, "hint", limitHint(c.err, k.w.table.scarce), "first", c.path, "err", c.err)
	}
	if c := &k.bad; c.err != nil && !c.said {
		c.said = true
		log.Warn("some folders cannot be watched or read and are polled", "folder", k.w.cfg.Root, "folders", missing,
			"every", k.w.cfg.Poll, "first", c.path, "err", c.err)
	}
}
