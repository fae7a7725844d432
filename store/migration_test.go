package store_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"weir/outbox"
	"weir/store"
)

func TestADatabaseOfTheFirstVersionIsBroughtUpToDateWithItsTombstones(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	script, err := os.ReadFile(filepath.Join("migrations", "0001_init.sql"))
	must(t, err)
	db := connect(t, dir)
	db.exec(`PRAGMA journal_mode = WAL`)
	db.exec(string(script))
	db.exec(`
		INSERT INTO meta (name, value) VALUES ('epoch', 3), ('instance', 'weir');
		INSERT INTO status (scope) VALUES ('daemon:weir');
		PRAGMA application_id = 0x77656972;
		PRAGMA user_version = 1`)
	key := sha256.Sum256([]byte("old"))
	m := message("old")
	db.exec(`INSERT INTO tombstones (key_hash, fingerprint, state, settled_at) VALUES (?, ?, 'sent', 1)`, key[:], m.Fingerprint)
	must(t, db.db.Close())

	_, err = store.Attach(t.Context(), store.Config{Dir: dir, Now: (&clock{now: start}).Now})
	if !errors.Is(err, store.ErrOlder) {
		t.Errorf("a command beside it: %v", err)
	}
	d := openDesk(t, dir, &clock{now: start})
	kept, err := d.Tombstone(t.Context(), "old")
	must(t, err)
	if kept.State != "sent" || kept.ErasedAt != nil {
		t.Errorf("kept %+v", kept)
	}
	if results, err := d.Accept(t.Context(), []outbox.Message{m}); err != nil || results[0] != outbox.AlreadyThere {
		t.Errorf("a repeat is %v, %v", results, err)
	}
}
