"""Blobs in the file system of this machine."""

import errno
import functools
import io
import operator
import os
import platform
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_to_bytes

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
from .file_root import Entry, Root, classify

__all__ = ["FileDriver", "path_of_url"]

# O_NONBLOCK: opening a FIFO must not wait for its writer. It means nothing to a regular file.
_FLAGS = os.O_RDONLY
for _flag in ("O_CLOEXEC", "O_BINARY", "O_NONBLOCK", "O_NOCTTY"):
    _FLAGS |= getattr(os, _flag, 0)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SequentialFile:
    """The bytes ``[offset, offset + length)`` of an open file, in order; None is to its end."""

    def __init__(
        self, descriptor: int, path: str, info: BlobInfo, offset: int, length: int | None
    ) -> None:
        self.info = info
        self._descriptor = descriptor
        self._path = path
        self._offset = offset
        self._left = length
        self._file: io.FileIO | None = None
        self._closed = False
        # A descriptor must not be closed under a read: its number may be another file's by then.
        self._lock = threading.Lock()
        self._process = os.getpid()

    def readinto(self, buffer: memoryview, /) -> int:
        """Read the next bytes into `buffer`; 0 at the end.

        Raises
        ------
        BlobChangedError
            The file is shorter than it was when it was opened.
        """
        with self._lock:
            if self._closed:
                raise ValueError("I/O operation on closed stream")
            if self._left == 0:
                return 0
            got = self._read(buffer if self._left is None else buffer[: self._left])
            if self._left is not None:
                if got == 0 and len(buffer) > 0:
                    raise BlobChangedError(
                        f"ends {self._left} bytes earlier than when it was opened",
                        driver=FileDriver.name,
                        path=self._path,
                    )
                self._left -= got
            return got

    def _read(self, buffer: memoryview) -> int:
        try:
            if self._file is None:
                self._file = io.FileIO(self._descriptor, closefd=False)
                self._file.seek(self._offset)
            got = self._file.readinto(buffer)
        except OSError as exc:
            raise _error(self._path, exc) from exc
        if got is None:
            raise BlobError(
                "has no bytes now, and is not at its end",
                driver=FileDriver.name,
                path=self._path,
                errno=errno.EAGAIN,
            )
        return got

    def close(self) -> None:
        """Close the file."""
        if self._process != os.getpid():
            # A thread that is not in this process may hold the lock for ever.
            self._lock = threading.Lock()
            self._process = os.getpid()
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._descriptor)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path!r}>"

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()


class FileStream(SequentialFile):
    """Bytes of an open regular file; a reader reads it at any position, by its `descriptor`."""

    def __init__(
        self, descriptor: int, path: str, info: BlobInfo, offset: int, length: int
    ) -> None:
        super().__init__(descriptor, path, info, offset, length)
        self.descriptor = descriptor


class FileDriver:
    """The files of this machine.

    A reader holds its file open: a file that is renamed or deleted goes on being read, one that
    grows is read to the size that it had, one that shrank raises `BlobChangedError`. That a file
    is overwritten in place, byte for byte, while it is read, is not seen.

    Parameters
    ----------
    root : str or os.PathLike, optional
        A directory. Paths are then taken below it, and can not leave it: ``..``, absolute paths
        and symbolic links below the root are refused.
    """

    name = "file"
    is_local = True
    buffer_size = 256 << 10

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = None if root is None else os.path.abspath(_text(root))
        self._below = None if self.root is None else Root(self.root)

    def stat(self, path: str, /) -> BlobInfo:
        """Tell size and version of a file.

        Raises
        ------
        PathNotFoundError, AccessDeniedError
        InvalidPathError
            For what is no regular file and no directory, or lies outside of the root.
        """
        path = self._checked(path)
        try:
            status = self._status(path)
        except OSError as exc:
            raise _error(path, exc) from exc
        info = _info(path, status)
        if info.size == 0 and not info.is_dir:
            # Only a read tells an empty file from one whose size the system does not know.
            info, stream = self.open(path)
            stream.close()
        return info

    def open(self, path: str, /) -> tuple[BlobInfo, SequentialFile]:
        """Open a file, and tell what was opened.

        Raises
        ------
        BlobIsDirectoryError
        PathNotFoundError, AccessDeniedError, InvalidPathError
            As `stat` does.
        """
        return self._open(self._checked(path), 0, None, None)

    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> SequentialFile:
        """Open ``[offset, offset + length)`` of a file, of the version that `pin` names.

        Raises
        ------
        InvalidOffsetError
        BlobChangedError
            It is another file, or another version of it, than `pin` names.
        BlobIsDirectoryError, PathNotFoundError, AccessDeniedError, InvalidPathError
            As `open` does.
        """
        offset = operator.index(offset)
        if offset < 0:
            raise InvalidOffsetError(
                f"the offset {offset} is negative", driver=self.name, path=str(path)
            )
        if length is not None and (length := operator.index(length)) < 0:
            raise ValueError(f"the length {length} is negative")
        return self._open(self._checked(path), offset, length, pin)[1]

    def list(self, prefix: str = "", /) -> Iterator[BlobInfo]:
        """Tell of each regular file whose path starts with `prefix`, directory by directory.

        Symbolic links to directories are not followed.
        """
        folder, start = os.path.split(prefix)
        yield from self._walk(folder, start)

    def __repr__(self) -> str:
        return f"FileDriver({'' if self.root is None else repr(self.root)})"

    def _open(
        self, path: str, offset: int, length: int | None, pin: BlobInfo | None
    ) -> tuple[BlobInfo, SequentialFile]:
        try:
            descriptor = self._descriptor(path)
        except OSError as exc:
            raise _error(path, exc) from exc
        try:
            info = _opened(path, descriptor)
            if pin is not None and not _same_version(info, pin):
                raise BlobChangedError(
                    "is another file, or another version of it, than was opened; "
                    "open it again for the new one",
                    driver=self.name,
                    path=path,
                )
        except BaseException:
            os.close(descriptor)
            raise
        if info.size is None:
            return info, SequentialFile(descriptor, path, info, offset, length)
        left = max(0, info.size - offset)
        length = left if length is None else min(left, length)
        return info, FileStream(descriptor, path, info, offset, length)

    def _status(self, path: str) -> os.stat_result:
        return os.stat(path) if self._below is None else self._below.stat(path)

    def _descriptor(self, path: str) -> int:
        try:
            return os.open(path, _FLAGS) if self._below is None else self._below.open(path, _FLAGS)
        except PermissionError as exc:
            # What Windows says when a directory is opened.
            if os.name == "nt" and stat.S_ISDIR(self._status(path).st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from exc
            raise

    def _walk(self, folder: str, start: str = "") -> Iterator[BlobInfo]:
        try:
            entries = self._scan(folder)
        except (FileNotFoundError, NotADirectoryError):
            return  # nothing starts with this prefix
        except OSError as exc:
            raise _error(folder, exc) from exc
        for name, is_directory in entries:
            if not name.startswith(start):
                continue
            path = os.path.join(folder, name)
            if is_directory:
                yield from self._walk(path)
                continue
            try:
                info = self.stat(path)
            except PathNotFoundError:
                continue  # it was deleted meanwhile
            yield info

    def _scan(self, folder: str) -> Sequence[Entry]:
        folder = self._checked(folder or os.curdir)
        if self._below is not None:
            return self._below.scan(folder)
        with os.scandir(folder) as found:
            return classify(found, follow_symlinks=True)

    def _checked(self, path: str | os.PathLike[str]) -> str:
        path = _text(path)
        if not path:
            raise InvalidPathError("the path is empty", driver=self.name, path=path)
        if self._below is not None and _leaves(path):
            raise InvalidPathError(
                "the path leaves the root of this driver", driver=self.name, path=path
            )
        return path


def path_of_url(url: str) -> str:
    """Give the path that a ``file:`` URL names.

    RFC 8089 knows no query, so a ``?`` is a part of the path.

    Raises
    ------
    InvalidPathError
        For the file of another host.
    """
    rest = url[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise InvalidPathError(
                "the host in a file URL must be empty or localhost",
                driver=FileDriver.name,
                path=slash + path,
            )
        rest = slash + path
    if os.name == "nt":
        from urllib.request import url2pathname  # slow to import, and for drive letters only

        return url2pathname(rest)
    # url2pathname() turns bytes that are no UTF-8 into U+FFFD, which is another file's name.
    return os.fsdecode(unquote_to_bytes(os.fsencode(_text(rest))))


def _text(path: str | os.PathLike[str]) -> str:
    """The path as a str that the system can take."""
    path = os.fspath(path)
    if not isinstance(path, str):
        raise TypeError(f"a path is a str or a pathlib.Path, not {type(path).__name__}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise InvalidPathError(
            "the path has a character that no file name has", driver=FileDriver.name, path=path
        ) from None
    if "\0" in path:
        raise InvalidPathError("the path has a NUL in it", driver=FileDriver.name, path=path)
    return path


def _leaves(path: str) -> bool:
    plain = path.replace(os.sep, "/")
    return plain.startswith("/") or bool(os.path.splitdrive(path)[0]) or ".." in plain.split("/")


def _opened(path: str, descriptor: int) -> BlobInfo:
    """What is open: a regular file, or an error."""
    try:
        info = _info(path, os.fstat(descriptor))
        if info.is_dir:
            raise BlobIsDirectoryError("is a directory", driver=FileDriver.name, path=path)
        if info.size == 0 and os.read(descriptor, 1):
            # procfs and its like say 0 and have bytes: the size shows when they are read to the
            # end. Their times are those of the look.
            return BlobInfo(path, None)
        return info
    except BlobError:
        raise
    except OSError as exc:
        raise _error(path, exc) from exc


def _info(path: str, status: os.stat_result) -> BlobInfo:
    is_dir = stat.S_ISDIR(status.st_mode)
    if not is_dir and not stat.S_ISREG(status.st_mode):
        raise InvalidPathError("is no regular file", driver=FileDriver.name, path=path)
    version = f"mtime:{status.st_mtime_ns} inode:{status.st_ino} host:{_host()}"
    # Whole microseconds by integers: st_mtime is a float, and cannot tell neighbours apart.
    modified = _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
    return BlobInfo(path, 0 if is_dir else status.st_size, version, None, modified, None, is_dir)


@functools.cache
def _host() -> str:
    return platform.node().replace(" ", "_")


def _same_version(info: BlobInfo, pin: BlobInfo) -> bool:
    if pin.size not in (None, info.size) or pin.etag is not None:
        return False  # no file has an entity tag
    if pin.version is None or pin.version == info.version:
        return True
    # An inode means something on its own host only.
    time, _, host = (info.version or "").partition(" inode:")
    pinned_time, _, pinned_host = pin.version.partition(" inode:")
    elsewhere = host.partition(" host:")[2] != pinned_host.partition(" host:")[2]
    return elsewhere and time == pinned_time


def _error(path: str, exc: OSError) -> BlobError:
    kind: type[BlobError] = BlobError
    message = exc.strerror or str(exc)
    match exc.errno:
        case errno.ENOENT | errno.ENOTDIR:
            kind, message = PathNotFoundError, "no such file"
        case errno.EACCES | errno.EPERM:
            kind = AccessDeniedError
        case errno.EISDIR:
            kind, message = BlobIsDirectoryError, "is a directory"
        case errno.ELOOP | errno.EMLINK:  # EMLINK: what FreeBSD says to O_NOFOLLOW
            kind, message = InvalidPathError, "a symbolic link is in the way"
        case errno.ENAMETOOLONG | errno.EINVAL:
            kind = InvalidPathError
        case errno.ENXIO | errno.ENODEV | errno.EOPNOTSUPP:  # a socket, a device that is not there
            kind, message = InvalidPathError, "is no regular file"
    return kind(message, driver=FileDriver.name, path=path, errno=exc.errno)
