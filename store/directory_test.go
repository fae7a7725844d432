package store_test

import (
	"errors"
	"strings"
	"testing"

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
