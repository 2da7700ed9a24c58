"""One mount, and what its type and its options say.

Does not guarantee: that they are true.
Sources of what keeps a guard local to one host: nfs(5) (`nolock`, `local_lock`), mount.cifs(8) (`nobrl`), mount.lustre(8)
(`localflock`); FUSE answers flock in the kernel where the filesystem does not implement it, and those named here do not.
"""

from __future__ import annotations

import sys

from looop_portable.typed import NamedTuple

_NETWORK = frozenset(
    """
    nfs nfs4 cifs smb smb2 smb3 smbfs afpfs webdav 9p afs ceph glusterfs gpfs lustre beegfs orangefs pvfs2 ocfs2 gfs2 coda
    ncpfs vboxsf prl_fs virtiofs fuse.vmhgfs-fuse fuse.sshfs fuse.s3fs fuse.rclone fuse.gcsfuse fuse.glusterfs
    fuse.ceph-fuse fuse.davfs fuse.cvmfs2 fuse.juicefs fuse.moosefs fuse.lizardfs
    """.split()  # noqa: SIM905 (a list would have a line for each)
)
_DISKS = frozenset(
    "ext2 ext3 ext4 xfs btrfs f2fs zfs jfs bcachefs vfat exfat msdos ntfs ntfs3 refs fat32 apfs hfs ufs tmpfs".split()  # noqa: SIM905
)
"""Filesystems that one kernel at a time has mounted."""

NOT_LOCAL = "nonlocal"
"""The option of what macOS does not call local."""

_LOCAL_GUARD_OPTIONS = ("nolock", "local_lock=all", "local_lock=flock", "nobrl", "localflock", "localflocks")
_LOCAL_GUARD_TYPES = ("fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse")


class Mount(NamedTuple):
    """`point` is an absolute path; `type` the system's name of the filesystem; `options` as the system shows them.

    `number` is Linux's for it, or the serial number of Windows' volume, where that is known.
    """

    point: str
    type: str
    source: str
    options: tuple[str, ...]
    number: int = 0

    @property
    def network(self) -> bool:
        """Whether other hosts can have it mounted too."""
        return self.type in _NETWORK or "remote" in self.options or NOT_LOCAL in self.options

    @property
    def smb(self) -> bool:
        """Whether it is a share of SMB: on Windows, whatever is remote."""
        return self.type in ("cifs", "smb", "smb2", "smb3", "smbfs") or "remote" in self.options

    @property
    def disk(self) -> str:
        """What tells a disk that only this kernel can have mounted; empty for any other filesystem, or an unknown one.

        It names the system too: Wine, say, shares a disk with a kernel that it knows nothing of. On Windows it has the
        volume's serial number, too: without that, all disks of one kind would be one, those of another kernel included.
        """
        if self.type not in _DISKS or self.network:
            return ""
        if sys.platform == "win32" and self.number:
            return f"{sys.platform} {self.type} {self.number:08x}"
        return f"{sys.platform} {self.type}"

    @property
    def local_guard(self) -> str:
        """The option, or the type, by which a lock held here keeps nobody out on another host; empty if there is none."""
        if self.type in _LOCAL_GUARD_TYPES:
            return self.type
        if not self.network:
            return ""
        return next((option for option in self.options if option in _LOCAL_GUARD_OPTIONS), "")
