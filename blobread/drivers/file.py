"""Blobs in the file system of this machine."""

import errno
import functools
import io
import os
import platform
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.request import url2pathname

from ..driver import BlobInfo
from ..errors import (
    AccessDeniedError,
    BlobChangedError,
    BlobError,
    BlobIsDirectoryError,
    InvalidOffsetError,
    InvalidPathError,
    PathNotFoundError,
)

__all__ = ["FileDriver", "path_of_url"]

# O_NONBLOCK: opening a FIFO must not wait for its writer. It means nothing to a regular file.
_FLAGS = os.O_RDONLY
for _flag in ("O_CLOEXEC", "O_BINARY", "O_NONBLOCK", "O_NOCTTY"):
    _FLAGS |= getattr(os, _flag, 0)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def path_of_url(url: str) -> str:
    """Give the path that a ``file:`` URL names; RFC 8089 knows no query, so a ``?`` is a part of it.

    Raises
    ------
    InvalidPathError
        For the file of another host.
    """
    rest = url[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise InvalidPathError(
                f"the host in a file URL must be empty or localhost, not {host!r}", driver="file", path=url
            )
        rest = slash + path
    return url2pathname(rest)


class SequentialFile:
    """An open file that is read in order."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._offset = 0
        self._left: int | None = None
        self._file: io.FileIO | None = None
        self._closed = False
        # A descriptor must not be closed under a read: its number may be another file's a moment later.
        self._lock = threading.Lock()

    def limit(self, offset: int, length: int | None) -> None:
        """Before the first read: give only ``[offset, offset + length)``."""
        self._offset = offset
        self._left = length

    def readinto(self, buffer: memoryview, /) -> int:
        """Read the next bytes into `buffer`; 0 at the end."""
        with self._lock:
            if self._closed:
                raise ValueError("I/O operation on closed stream")
            if self._file is None:
                self._file = io.FileIO(self._descriptor, closefd=False)
                self._file.seek(self._offset)
            if self._left is None:
                return self._file.readinto(buffer) or 0
            count = self._file.readinto(buffer[: self._left]) or 0
            self._left -= count
            return count

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._descriptor)


class FileStream(SequentialFile):
    """An open regular file; a reader reads it at any position, by its `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.descriptor = descriptor


class FileDriver:
    """The files of this machine.

    A reader holds its file open: a file that is renamed or deleted goes on being read, one that grows is read
    to the size that it had, one that shrank raises `BlobChangedError`. That a file is overwritten in place,
    byte for byte, while it is read, is not seen.

    Parameters
    ----------
    root : str or os.PathLike, optional
        A directory. Paths are then taken below it, and can not leave it: ``..``, absolute paths and
        symbolic links below the root are refused.
    """

    name = "file"
    buffer_size = 256 << 10

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = None if root is None else os.path.abspath(os.fspath(root))

    def stat(self, path: str, /) -> BlobInfo:
        """Tell size and version of a file."""
        path = self._checked(path)
        try:
            if self.root is None:
                return _info(path, os.stat(path))
            descriptor = self._open_below_root(path)
            try:
                return _info(path, os.fstat(descriptor))
            finally:
                os.close(descriptor)
        except OSError as exc:
            raise self._error(path, exc) from exc

    def open(self, path: str, /) -> tuple[BlobInfo, SequentialFile]:
        """Open a file, and tell what was opened."""
        path = self._checked(path)
        descriptor = self._open(path)
        try:
            status = os.fstat(descriptor)
            info = _info(path, status)
            if info.is_dir:
                raise BlobIsDirectoryError("is a directory", driver=self.name, path=path)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidPathError("is no regular file", driver=self.name, path=path)
            if status.st_size == 0 and os.read(descriptor, 1):
                # procfs and its like say 0 and have bytes: the size shows when they are read to the end.
                os.lseek(descriptor, 0, os.SEEK_SET)
                return BlobInfo(path, None, None, None, info.modified), SequentialFile(descriptor)
        except OSError as exc:
            os.close(descriptor)
            if isinstance(exc, BlobError):
                raise
            raise self._error(path, exc) from exc
        return info, FileStream(descriptor)

    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> SequentialFile:
        """Open ``[offset, offset + length)`` of a file, of the version that `pin` names."""
        if offset < 0:
            raise InvalidOffsetError(f"negative offset {offset}", driver=self.name, path=str(path))
        info, stream = self.open(path)
        if pin is not None and not _same_version(info, pin):
            stream.close()
            raise BlobChangedError(
                "is another file, or another version of it, than was opened; open it again for the new one",
                driver=self.name,
                path=info.path,
            )
        stream.limit(offset, length)
        return stream

    def list(self, prefix: str = "", /) -> Iterator[BlobInfo]:
        """Tell of each regular file whose path starts with `prefix`, in order of the names.

        Symbolic links to directories are not followed.
        """
        folder, start = os.path.split(prefix)
        yield from self._walk(folder, start)

    def _walk(self, folder: str, start: str = "") -> Iterator[BlobInfo]:
        where = folder if self.root is None else os.path.join(self.root, folder)
        if folder and self.root is not None:
            self._checked(folder)
        try:
            with os.scandir(where or os.curdir) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return      # nothing starts with this prefix
        except OSError as exc:
            raise self._error(folder, exc) from exc
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if not entry.name.startswith(start):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(path)
            elif entry.is_file(follow_symlinks=self.root is None):
                try:
                    yield self.stat(path)
                except PathNotFoundError:
                    continue    # it was deleted meanwhile

    def _checked(self, path: str | os.PathLike[str]) -> str:
        path = os.fspath(path)
        if not isinstance(path, str):
            raise TypeError(f"a path is a str or a pathlib.Path, not {type(path).__name__}")
        if not path:
            raise InvalidPathError("the path is empty", driver=self.name, path=path)
        if "\0" in path:
            raise InvalidPathError("the path has a NUL in it", driver=self.name, path=path)
        if self.root is not None:
            parts = path.replace("\\", "/").split("/") if os.sep == "\\" else path.split("/")
            if os.path.isabs(path) or os.path.splitdrive(path)[0] or ".." in parts:
                raise InvalidPathError("the path leaves the root of this driver", driver=self.name, path=path)
        return path

    def _open(self, path: str) -> int:
        try:
            if self.root is not None:
                return self._open_below_root(path)
            return os.open(path, _FLAGS)
        except OSError as exc:
            if os.path.isdir(path):     # Windows says "permission denied" to this
                raise BlobIsDirectoryError("is a directory", driver=self.name, path=path) from exc
            raise self._error(path, exc) from exc

    def _open_below_root(self, path: str) -> int:
        assert self.root is not None
        if os.open not in os.supports_dir_fd:
            return self._open_resolved(self.root, path)
        # Each step is taken from the directory that the step before has opened, and follows no link: no
        # directory can be swapped for a link between a check and its use.
        parts = [part for part in path.split("/") if part not in ("", ".")]
        descriptor = os.open(self.root, _FLAGS | os.O_DIRECTORY)
        for number, part in enumerate(parts, 1):
            flags = _FLAGS | os.O_NOFOLLOW | (os.O_DIRECTORY if number < len(parts) else 0)
            try:
                below = os.open(part, flags, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    @staticmethod
    def _open_resolved(root: str, path: str) -> int:
        """Without openat(): open what the path resolves to, where that lies below the root."""
        real = os.path.realpath(os.path.join(root, path))
        if os.path.commonpath([real, os.path.realpath(root)]) != os.path.realpath(root):
            raise OSError(errno.ELOOP, "leaves the root")
        return os.open(real, _FLAGS)

    def _error(self, path: str, exc: OSError) -> BlobError:
        kind: type[BlobError] = BlobError
        message = exc.strerror or str(exc)
        match exc.errno:
            case errno.ENOENT | errno.ENOTDIR:
                kind, message = PathNotFoundError, "no such file"
            case errno.EACCES | errno.EPERM:
                kind = AccessDeniedError
            case errno.EISDIR:
                kind = BlobIsDirectoryError
            case errno.ELOOP | errno.EMLINK:    # EMLINK: what FreeBSD says to O_NOFOLLOW
                kind, message = InvalidPathError, "a symbolic link is in the way"
            case errno.ENAMETOOLONG | errno.EINVAL:
                kind = InvalidPathError
            case errno.ENXIO:                   # a socket
                kind, message = InvalidPathError, "is no regular file"
        return kind(message, driver=self.name, path=path, errno=exc.errno)


def _info(path: str, status: os.stat_result) -> BlobInfo:
    is_dir = stat.S_ISDIR(status.st_mode)
    version = f"mtime:{status.st_mtime_ns} inode:{status.st_ino} host:{_host()}"
    # Whole microseconds by integers: st_mtime is a float, and cannot tell neighbours apart.
    modified = _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
    return BlobInfo(path, 0 if is_dir else status.st_size, version, None, modified, None, is_dir)


@functools.cache
def _host() -> str:
    return platform.node().replace(" ", "_")


def _same_version(info: BlobInfo, pin: BlobInfo) -> bool:
    if pin.size != info.size and pin.size is not None:
        return False
    if pin.version is None or info.version is None:
        return True
    mine, theirs = info.version.split(), pin.version.split()
    # An inode means something on its own host only.
    return mine == theirs if mine[-1] == theirs[-1] else mine[0] == theirs[0]
