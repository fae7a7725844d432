package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"

	"weir/internal/bubble"
	"weir/outbox"
	"weir/store"
)

// writeAndDie names the environment variable that makes the test process write
// to the database there and end without closing it.
const writeAndDie = "STORE_TEST_WRITE_AND_DIE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writeAndDie); dir != "" {
		die(dir)
	}
	goleak.VerifyTestMain(m)
}

// die leaves a database whose latest commits stand in its -wal only.
func die(dir string) {
	db, err := sqlx.Open("sqlite3", "file:"+filepath.Join(dir, "weir.db")+"?_journal_mode=WAL")
	if err == nil {
		_, err = db.Exec(os.Getenv(writeAndDie + "_SQL"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// database makes a closed database with some messages.
func database(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	batch := make([]outbox.Message, 200)
	for i := range batch {
		batch[i] = message(fmt.Sprint(i))
	}
	_, err = s.Accept(t.Context(), batch)
	must(t, errors.Join(err, s.Close()))
	return dir
}

// closedDir is a directory that only its owner can enter.
func closedDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	return dir
}

// leave runs SQL in a process that dies before its -wal is merged.
func leave(t *testing.T, dir, query string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), writeAndDie+"="+dir, writeAndDie+"_SQL="+query, "GORACE=atexit_sleep_ms=0")
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(filepath.Join(dir, "weir.db-wal")); err != nil || info.Size() == 0 {
		t.Fatalf("it left no -wal: %v", err)
	}
}

// contents are all files of a directory that weir may not write to. The lock
// is not the database, and -shm is SQLite's index of -wal, made anew from it.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path == "weir.lock" || path == "weir.db-shm" {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		if len(data) > 0 || path == "weir.db" {
			files[path] = string(data)
		}
		return err
	}))
	return files
}

// opener is Open or Attach.
type opener func(context.Context, store.Config) (*store.Store, error)

// refuses checks that none of the openers takes the directory, and that they
// leave it as it is.
func refuses(t *testing.T, dir string, want error, openers ...opener) {
	t.Helper()
	before := contents(t, dir)
	for _, open := range openers {
		s, err := open(t.Context(), store.Config{Dir: dir, Now: time.Now})
		if err == nil {
			_ = s.Close()
		}
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if after := contents(t, dir); !maps.Equal(before, after) {
			t.Error("a file was changed")
		}
	}
}

func TestANewerDatabaseIsNotTouched(t *testing.T) {
	dir := database(t)
	db := connect(t, dir)
	db.exec(`PRAGMA user_version = 999`)
	must(t, db.db.Close())
	refuses(t, dir, store.ErrNewer, store.Open, store.Attach)
}

func TestRefusingANewerDatabaseLeavesNoFile(t *testing.T) {
	dir := database(t)
	db := connect(t, dir)
	db.exec(`PRAGMA user_version = 999`)
	must(t, db.db.Close())
	_, err := store.Attach(t.Context(), store.Config{Dir: dir, Now: time.Now})
	if !errors.Is(err, store.ErrNewer) {
		t.Fatal(err)
	}
	for _, name := range []string{"weir.db-wal", "weir.db-shm"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALostDatabaseIsNotTakenForANewOne(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"cut to nothing": func(path string) error { return os.Truncate(path, 0) },
		"gone but for its -wal": func(path string) error {
			return errors.Join(os.WriteFile(path+"-wal", []byte("commits"), 0o600), os.Remove(path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := database(t)
			must(t, lose(filepath.Join(dir, "weir.db")))
			refuses(t, dir, store.ErrCorrupt, store.Open, store.Attach)
		})
	}
}

func TestABeginningThatWasCutShortIsBegunAgain(t *testing.T) {
	for _, left := range []string{"", "SQLite format 3\x00 and no more"} {
		dir := closedDir(t)
		for _, name := range []string{"weir.db.new", "weir.db.new-wal", "weir.db.new-shm"} {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(left), 0o600))
		}
		s, err := store.Attach(t.Context(), store.Config{Dir: dir, Now: time.Now})
		must(t, err)
		_, err = s.Accept(t.Context(), []outbox.Message{message("x")})
		must(t, errors.Join(err, s.Close()))
		if names, err := fs.Glob(os.DirFS(dir), "*"); err != nil || len(names) != 1 {
			t.Errorf("the directory holds %v (%v)", names, err)
		}
	}
}

func TestADirectoryWithOtherThingsThatIsOpenToOthersIsNotClosed(t *testing.T) {
	dir := t.TempDir()
	must(t, errors.Join(os.Chmod(dir, 0o750), os.WriteFile(filepath.Join(dir, "report.txt"), nil, 0o644)))
	_, err := store.Attach(t.Context(), store.Config{Dir: dir, Now: time.Now})
	if !errors.Is(err, store.ErrOpenDir) || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("%v, want ErrOpenDir that says what to do", err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("its mode is %v now (%v)", info.Mode(), err)
	}
}

func TestTheDirectoryOfAnotherUserIsRefused(t *testing.T) {
	const rootsOwn, nobody = "/usr", 65534
	refused := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which is nobody's, ends with the goroutine
		if os.Geteuid() == 0 {
			if _, _, code := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); code != 0 {
				refused <- code
				return
			}
		}
		_, err := store.Attach(context.Background(), store.Config{Dir: rootsOwn, Now: time.Now})
		refused <- err
	}()
	if err := <-refused; !errors.Is(err, store.ErrOwner) || !strings.Contains(err.Error(), "run weir as user root") {
		t.Errorf("%v, want ErrOwner that says whom to be", err)
	}
}

func TestANewerDatabaseOfADaemonThatDiedIsNotTouched(t *testing.T) {
	dir := database(t)
	leave(t, dir, `PRAGMA user_version = 999; UPDATE messages SET updated_at = 1`)
	refuses(t, dir, store.ErrNewer, store.Open, store.Attach)
}

func TestWhatADaemonThatDiedHadCommittedIsThere(t *testing.T) {
	dir := database(t)
	leave(t, dir, `UPDATE messages SET traceparent = 'late'`)
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	if m, err := s.Message(t.Context(), "199"); err != nil || val(m.Traceparent) != "late" {
		t.Errorf("the row is %+v (%v)", m, err)
	}
}

func TestADamagedDatabaseIsNotTouched(t *testing.T) {
	garbage := bytes.Repeat([]byte("garbage "), 512)
	for _, test := range []struct {
		name    string
		damage  func(data []byte) []byte
		openers []opener // commands do not look for damage: they are short, and the daemon does
	}{
		{"garbage instead of a header", func(data []byte) []byte { copy(data, garbage[:100]); return data }, []opener{store.Open, store.Attach}},
		{"something else altogether", func([]byte) []byte { return garbage }, []opener{store.Open, store.Attach}},
		{"cut short", func(data []byte) []byte { return data[:len(data)/8192*4096] }, []opener{store.Open}},
		{"garbage in the middle", func(data []byte) []byte { copy(data[len(data)/8192*4096:], garbage); return data }, []opener{store.Open}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := database(t)
			path := filepath.Join(dir, "weir.db")
			data, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, test.damage(data), 0o600))
			refuses(t, dir, store.ErrCorrupt, test.openers...)
		})
	}
}

func TestAnotherProgramsDatabaseIsNotTouched(t *testing.T) {
	dir := closedDir(t)
	db := connect(t, dir)
	db.exec(`CREATE TABLE messages (id INTEGER PRIMARY KEY, text TEXT)`)
	must(t, db.db.Close())
	refuses(t, dir, store.ErrCorrupt, store.Open, store.Attach)
}

func TestADataDirectoryHasOneDaemon(t *testing.T) {
	d := newDesk(t)
	_, err := store.Open(t.Context(), store.Config{Dir: d.dir, Now: time.Now})
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("%v, want ErrInUse that names process %d", err, os.Getpid())
	}
	d.put(message("the first one still writes"))
	d.reopen()
}

func TestADaemonThatIsJustDyingDoesNotStopTheNext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		dir := closedDir(t)
		dying, err := os.Create(filepath.Join(dir, "weir.lock"))
		must(t, err)
		must(t, syscall.Flock(int(dying.Fd()), syscall.LOCK_EX))
		opened := make(chan error)
		go func() {
			s, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
			if err == nil {
				err = s.Close()
			}
			opened <- err
		}()
		synctest.Wait()
		must(t, dying.Close())
		must(t, <-opened)
	})
}

func TestCommandsWorkBesideADaemonAndWithoutOne(t *testing.T) {
	d := newDesk(t)
	d.put(message("from the daemon"))
	for _, key := range []string{"beside", "without"} {
		command, err := store.Attach(t.Context(), store.Config{Dir: d.dir, Now: time.Now})
		must(t, err)
		_, err = command.Accept(t.Context(), []outbox.Message{message(key)})
		must(t, err)
		if _, err := command.Message(t.Context(), "from the daemon"); err != nil || command.Epoch() != 0 {
			t.Errorf("%v; epoch %d, want none", err, command.Epoch())
		}
		must(t, command.Close())
		if key == "beside" {
			d.put(message("the daemon still writes"))
			must(t, d.Close())
		}
	}
}

func TestEachDaemonHasTheNextEpoch(t *testing.T) {
	d := newDesk(t)
	for want := int64(1); want <= 3; want++ {
		if d.Epoch() != want || d.number(`SELECT value FROM meta WHERE name = 'epoch'`) != want {
			t.Errorf("epoch %d, want %d", d.Epoch(), want)
		}
		d = d.reopen()
	}
}

func TestTheDaemonsRowFollowsItsName(t *testing.T) {
	d := newDesk(t)
	d.put(message("x"))
	must(t, d.Close())
	s, err := store.Open(t.Context(), store.Config{Dir: d.dir, Now: time.Now, Instance: "second"})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	if _, err := s.Cancel(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	daemon, buckets, err := s.Status(t.Context())
	must(t, err)
	if daemon.Scope != "daemon:second" || daemon.Canceled != 1 || len(buckets) != 1 || d.number(`SELECT count(*) FROM status`) != 2 {
		t.Errorf("the daemon is %+v of %d rows", daemon, len(buckets)+1)
	}
}

func TestANewDatabaseIsForItsOwnerOnly(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := filepath.Join(t.TempDir(), "deep", "data")
	if found, err := store.Exists(dir); found || err != nil {
		t.Errorf("before anybody made it: %v, %v", found, err)
	}
	s, err := store.Attach(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	_, err = s.Accept(t.Context(), []outbox.Message{message("x")})
	must(t, err)
	daemon, err := store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now})
	must(t, err)
	defer func() { must(t, daemon.Close()) }()

	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v", info.Mode())
	}
	if found, err := store.Exists(dir); !found || err != nil {
		t.Errorf("once it is made: %v, %v", found, err)
	}
	files, err := os.ReadDir(dir)
	must(t, err)
	if len(files) != 4 {
		t.Errorf("the directory holds %v, want the database, -wal, -shm and the lock", files)
	}
	for _, f := range files {
		info, err := f.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
}

func TestManyMayOpenAnEmptyDirectoryAtOnce(t *testing.T) {
	for range 5 {
		dir := t.TempDir()
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				open := store.Attach
				if i == 0 {
					open = store.Open
				}
				s, err := open(t.Context(), store.Config{Dir: dir, Now: time.Now})
				if err != nil {
					t.Error(err)
					return
				}
				_, err = s.Accept(t.Context(), []outbox.Message{message(fmt.Sprint(i))})
				if err = errors.Join(err, s.Close()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := connect(t, dir).number(`SELECT count(*) FROM messages`); n != 6 {
			t.Errorf("%d messages are stored, want one of each", n)
		}
	}
}
