package doctor

import "syscall"

// diskOf returns the file system of a folder.
func diskOf(dir string) (Disk, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return Disk{}, err
	}
	d := Disk{Kind: fileSystems[uint32(s.Type)], Free: s.Bavail * uint64(s.Bsize)}
	if s.Files > 0 { // some, such as btrfs, have no limit
		d.FreeFiles, d.HasFileLimit = s.Ffree, true
	}
	return d, nil
}

// fileSystems are the names of the types of statfs(2) that differ from a local disk.
var fileSystems = map[uint32]string{
	0x01021994: "tmpfs", 0x858458f6: "ramfs",
	0x794c7630: "overlay",
	0x6969:     "nfs", 0xff534d42: "cifs", 0xfe534d42: "smb2", 0x517b: "smb", 0x01021997: "9p", 0x65735546: "fuse",
	0x00c36400: "ceph",
}
