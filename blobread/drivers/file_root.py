"""Files below one directory, which no path can leave."""

import errno
import os
import stat
from collections.abc import Iterator

__all__ = ["Entry", "Root", "classify"]

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
# To pass through a directory takes the right to search it, not the right to list it.
_SEARCH = getattr(os, "O_PATH", getattr(os, "O_SEARCH", os.O_RDONLY))
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)

#: A name in a directory, and whether it is a directory itself; else it is a regular file.
Entry = tuple[str, bool]


class Root:
    """A directory whose files are reached without following a symbolic link below it.

    Each step of a path is taken from the directory that the step before has opened, so that none
    can be swapped for a link between a check and its use. Where the system has no ``openat``
    (Windows), the path is resolved first and refused if that leads out: there such a swap at the
    wrong moment is not seen.

    The methods raise what `os` raises; a link is ``ELOOP``.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self, path: str, flags: int) -> int:
        """Open a file below the root; give its descriptor."""
        if os.open not in os.supports_dir_fd:
            return os.open(self._resolve(path), flags)
        parent, name = self._walk(path)
        try:
            return os.open(name, flags | _NOFOLLOW, dir_fd=parent)
        finally:
            os.close(parent)

    def stat(self, path: str) -> os.stat_result:
        """Tell of a file below the root, which need not be readable."""
        if os.stat not in os.supports_dir_fd:
            return os.stat(self._resolve(path))
        parent, name = self._walk(path)
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)
        if stat.S_ISLNK(status.st_mode):
            raise _link(name)
        return status

    def scan(self, path: str) -> list[Entry]:
        """Tell of the regular files and the directories in one; links are left out."""
        if os.scandir not in os.supports_fd:
            with os.scandir(self._resolve(path)) as found:
                return classify(found, follow_symlinks=False)
        # The dot makes of the last part one that is passed, where a link is told from a file.
        descriptor = self.open(f"{path}/.", os.O_RDONLY | _DIRECTORY)
        try:
            with os.scandir(descriptor) as found:
                return classify(found, follow_symlinks=False)
        finally:
            os.close(descriptor)

    def _walk(self, path: str) -> tuple[int, str]:
        """Open the directory that the last part of `path` lies in; give it and that part."""
        *parts, name = path.split("/")
        descriptor = os.open(self.path, _SEARCH | _DIRECTORY)
        for part in parts:
            if part in ("", "."):
                continue
            try:
                below = os.open(part, _SEARCH | _DIRECTORY | _NOFOLLOW, dir_fd=descriptor)
            except NotADirectoryError:
                # Linux says so of a link too.
                status = os.stat(part, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode):
                    raise _link(part) from None
                raise
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor, name or "."

    def _resolve(self, path: str) -> str:
        root = os.path.realpath(self.path)
        real = os.path.realpath(os.path.join(root, path))
        if not os.path.join(real, "").startswith(os.path.join(root, "")):
            raise _link(path)
        return real


def classify(found: Iterator["os.DirEntry[str]"], *, follow_symlinks: bool) -> list[Entry]:
    """Give the directories and the regular files of a listing, in order of their names.

    `follow_symlinks` takes a link to a file for the file; one to a directory is left out.
    """
    entries = []
    for entry in found:
        is_directory = entry.is_dir(follow_symlinks=False)
        if is_directory or entry.is_file(follow_symlinks=follow_symlinks):
            entries.append((entry.name, is_directory))
    return sorted(entries)


def _link(name: str) -> OSError:
    return OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
