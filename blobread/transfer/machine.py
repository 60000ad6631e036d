"""How much memory this process may have: the machine's, or what its control groups leave of it."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

__all__ = ["memory_allowed", "memory_of_groups", "memory_of_machine"]

# memory.high is where the kernel begins to throttle: growing up to memory.max is no use then.
_LIMITS_V2 = ("memory.max", "memory.high")
_LIMITS_V1 = ("memory.limit_in_bytes",)


def memory_allowed() -> int | None:
    """Give the bytes that this process may use at most; None where nobody says so."""
    return min(
        (limit for limit in (memory_of_machine(), memory_of_groups()) if limit is not None),
        default=None,
    )


def memory_of_machine() -> int | None:
    """Give the bytes of RAM."""
    if sys.platform == "win32":
        return _memory_of_windows()
    with suppress(OSError, ValueError):  # no such name, or no answer to it
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        if pages > 0 and size > 0:
            return pages * size
    return None


def memory_of_groups(root: Path = Path("/")) -> int | None:
    """Give the tightest limit, in bytes, of this process's control groups and of those around them.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.

    Notes
    -----
    Version 2 and version 1, and both at a time, where systemd mounts them: cgroups(7). In a
    container the path of the group may be that of the host, of which only the top is mounted: what
    is not there is passed over, up to the top.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    limits: list[int] = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if line.startswith("0::"):
            limits += _limits_up(root / "sys/fs/cgroup", path, _LIMITS_V2)
            limits += _limits_up(root / "sys/fs/cgroup/unified", path, _LIMITS_V2)
        elif "memory" in controllers.split(","):
            limits += _limits_up(root / "sys/fs/cgroup/memory", path, _LIMITS_V1)
    return min(limits, default=None)


def _limits_up(mount: Path, path: str, names: tuple[str, ...]) -> Iterator[int]:
    """The limits of a group and of all above it."""
    group = PurePosixPath(path.lstrip("/"))
    if ".." in group.parts:  # it lies outside of what this container sees
        group = PurePosixPath()
    for above in (group, *group.parents):
        for name in names:
            with suppress(OSError, ValueError):  # absent, or "max"
                yield int((mount / above / name).read_text())


def _memory_of_windows() -> int | None:
    """The RAM by GlobalMemoryStatusEx."""
    if sys.platform != "win32":  # for the type checker, which looks at one platform at a time
        return None
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 6),
        ]

    status = Status()
    status.length = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.total)
