"""Whether a filesystem has hard links, by how it answers to link(2)."""

from __future__ import annotations

import errno

_PASSING = frozenset(
    getattr(errno, name, 0)
    for name in """
    EEXIST ENOENT ENOTDIR ELOOP ENAMETOOLONG ENOSPC EDQUOT EIO ESTALE EUCLEAN EINTR EAGAIN EBUSY EDEADLK ENOLCK ENOMEM
    ENOBUFS EMFILE ENFILE ENODEV ENXIO EREMOTEIO EPIPE ETIMEDOUT ENOTCONN ECONNREFUSED ECONNRESET ECONNABORTED EHOSTDOWN
    EHOSTUNREACH ENETDOWN ENETUNREACH ESHUTDOWN
    """.split()  # noqa: SIM905 (a list would have a line for each)
)
"""What says nothing about hard links: about the names, the room, the network, or the moment."""

_NO_LINKS_WINDOWS = (1, 17, 50, 87, 120, 1142)
"""Invalid function, another device, not supported, invalid parameter, not implemented, too many links. There a file that
somebody has open is refused too, which says nothing."""


def no_links(error: OSError) -> bool:
    """Whether this is how a filesystem without hard links answers link(2), asked for a file that we have just made.

    Which error that is differs: EPERM on vfat, EACCES on Android, EXDEV, EROFS, EINVAL, ENOSYS elsewhere. Where a file
    could be made, and its second name could not, there are none, whatever is said; but for what may pass by itself.
    """
    number = getattr(error, "winerror", None)
    return number in _NO_LINKS_WINDOWS if number else error.errno not in _PASSING
