package store_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"weir/store"
)

func TestFileSystemsOfTheNetworkAreRefusedByName(t *testing.T) {
	for magic, name := range map[uint32]string{0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x01021997: "9P", 0x00c36400: "Ceph"} {
		if err := store.RefuseType("/data", magic); !errors.Is(err, store.ErrNetworkFS) || !strings.Contains(err.Error(), "/data is on "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for magic, name := range map[uint32]string{0xef53: "ext4", 0x58465342: "XFS", 0x9123683e: "Btrfs", 0x01021994: "tmpfs", 0x794c7630: "overlay"} {
		if err := store.RefuseType("/data", magic); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNothingIsMadeOnAFileSystemOfTheNetwork(t *testing.T) {
	dir := t.TempDir()
	undo, err := store.CallNetworkFS(dir, "a network")
	must(t, err)
	defer undo()
	for name, open := range map[string]func() (*store.Store, error){
		"a daemon":  func() (*store.Store, error) { return store.Open(t.Context(), store.Config{Dir: dir, Now: time.Now}) },
		"a command": func() (*store.Store, error) { return store.Attach(t.Context(), store.Config{Dir: dir, Now: time.Now}) },
	} {
		s, err := open()
		if err == nil {
			must(t, s.Close())
		}
		if !errors.Is(err, store.ErrNetworkFS) || !strings.Contains(err.Error(), "a network") {
			t.Errorf("%s: %v, want ErrNetworkFS", name, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("it holds %v (%v)", entries, err)
	}
}
