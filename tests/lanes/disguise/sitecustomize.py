"""The disguise in $DARWIN_DISGUISE, and what it leaves out: sysctl(3) of a process, statfs(2), and how shutil copies.

A call is put in only where the disguise has none. The answers are laid out as macOS's headers say, from what Linux tells:
so the code that reads them runs in whole commands. They prove nothing of what a Mac answers.
"""

import os
import sys

if os.environ.get("DISGUISE") == "darwin" and os.environ.get("DARWIN_DISGUISE") and sys.platform == "linux":
    import ctypes
    import errno
    import shutil
    import struct
    import types

    _real_open, _real_os_open, _O_PATH = open, os.open, os.O_PATH
    _file = f"{os.environ['DARWIN_DISGUISE']}/sitecustomize.py"
    _worn = {"__name__": "darwin_disguise", "__file__": _file}
    with _real_open(_file, encoding="utf-8") as _source:
        exec(compile(_source.read(), _file, "exec"), _worn)

    def _failed(number):
        ctypes.set_errno(number)
        return -1

    def _stat(pid):
        with _real_open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
        return line[line.rindex(b")") + 2 :].split()

    def _sysctl(name, length, value, size, new, newlen):
        """KERN_PROC_PID: p_starttime, p_stat and p_pid of a `struct kinfo_proc`."""
        if length != 4 or list(name[:3]) != [1, 14, 1]:
            return _failed(errno.ENOENT)
        if _worn["_sandboxed"]("proc.pid"):
            return _failed(errno.EPERM)
        try:
            fields = _stat(name[3])
        except (FileNotFoundError, ProcessLookupError):
            size._obj.value = 0
            return 0
        began = int(fields[19]) * 1_000_000 // _worn["_TICKS"]
        zombie = fields[0] in b"ZXx" and int(fields[17]) <= 1
        told = bytearray(648)
        struct.pack_into("=qi", told, 0, int(_worn["_BTIME"]) + began // 1_000_000, began % 1_000_000)
        struct.pack_into("=bxxxi", told, 36, 5 if zombie else 4 if fields[0] in b"Tt" else 2, name[3])
        ctypes.memmove(value, bytes(told), len(told))
        size._obj.value = len(told)
        return 0

    _DISKS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "overlay")
    _NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse")

    def _mount(path):
        """Type, point, source and options of the mount that `path` is on."""
        fd = _real_os_open(path, _O_PATH)
        try:
            with _real_open(f"/proc/self/fdinfo/{fd}", "rb") as file:
                number = next(line.split()[1] for line in file if line.startswith(b"mnt_id:"))
        finally:
            os.close(fd)
        with _real_open("/proc/self/mountinfo", "rb") as file:
            own, _, filesystem = next(line for line in file if line.split()[0] == number).partition(b" - ")
        kind, source = filesystem.split()[:2]
        point, options = (own.split()[each].decode("unicode_escape").encode("latin-1") for each in (4, 5))
        return kind.decode(), point, source, options.split(b",")

    def _statfs(path, answer):
        if os.environ.get("DISGUISE_MOUNTS") or _worn["_state"]("mounts", ""):
            return _failed(errno.ENOSYS)  # Those that are played are in psutil's list alone.
        try:
            kind, point, source, options = _mount(path)
        except OSError as error:
            return _failed(error.errno)
        told = bytearray(2168)
        flags = (0x1 if b"ro" in options else 0) | (0 if kind.startswith(_NETWORK) else 0x1000)
        struct.pack_into("=I", told, 64, flags)
        for start, text in ((72, b"apfs" if kind in _DISKS else kind.encode()[:15]), (88, point), (1112, source)):
            told[start : start + len(text)] = text
        ctypes.memmove(answer, bytes(told), len(told))
        return 0

    _libc = _worn["_Libc"]
    _as_worn = _libc.__getattr__

    def _told(self, name):
        """glibc has a statfs of its own, and no sysctl. Where the disguise has them, they are functions of Python's."""
        ours = {"sysctl": _sysctl, "statfs": _statfs}.get(name)
        if ours is None:
            return _as_worn(self, name)
        try:
            theirs = _as_worn(self, name)
        except AttributeError:
            return ours
        return theirs if isinstance(theirs, types.FunctionType) else ours

    _libc.__getattr__ = _told
    shutil._copyxattr = lambda *given, **ways: None  # It has been imported, with what Linux has.
