"""A file that is being downloaded, beside its target; it survives, and knows what it has."""

import json
import os
import stat
from bisect import bisect_left, bisect_right
from contextlib import suppress
from typing import NamedTuple

from ..transfer.changes import Changes

try:
    import fcntl
except ImportError:  # on Windows: nothing is kept there, as nothing says who else writes into it
    fcntl = None  # type: ignore[assignment]

__all__ = ["Identity", "Partial", "is_begun"]

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_PREFIX = ".blobread-"


class Identity(NamedTuple):
    """What a kept file is of: `place` is of URL and target, `version` of URL, version and size."""

    place: str
    version: str


class Partial:
    """The new file, of a size that is known; written by many threads.

    Parameters
    ----------
    target : str
        The path that it shall have in the end.
    size : int
        In bytes.
    identity : Identity or None
        None: nothing is kept. Else what an earlier one of the same identity has is there, unless
        another process writes into it just now.

    Attributes
    ----------
    path : str
    is_kept : bool
        Whether it is of use to a later one.

    Notes
    -----
    What the journal says is done was on the disk before. It is replaced as a whole, so it is never
    half written. Both files are ours alone: others could have put bytes there.
    """

    def __init__(self, target: str, size: int, identity: Identity | None) -> None:
        self.size = size
        self._target = target
        self._changes = Changes()
        self._writing = 0
        self._is_closed = False
        self._is_finished = False
        self._starts: list[int] = []  # of the runs that are done, apart and in order
        self._stops: list[int] = []
        self._saved: list[list[int]] = []
        self._descriptor = -1
        self.is_kept = False
        if identity is not None and fcntl is not None:
            _remove_others(target, identity)
            self.path = _path(target, f"{identity.place}-{identity.version}")
            self.is_kept = self._take()
        if not self.is_kept:
            # The name is known before there is a file: Ctrl-C at any moment finds what to remove.
            self.path = _path(target, os.urandom(8).hex())
        try:
            self._begin()
        except BaseException as error:
            self.leave(keep=False)
            if isinstance(error, OSError) and error.filename == self.path:
                error.filename = target  # the name that the caller knows
            raise

    def _begin(self) -> None:
        if not self.is_kept:
            self._descriptor = os.open(self.path, _FLAGS | os.O_EXCL, 0o666)
        elif self._load():
            return
        self._remove_journal()
        os.ftruncate(self._descriptor, 0)
        os.ftruncate(self._descriptor, self.size)

    @property
    def done(self) -> int:
        """How many bytes are there."""
        with self._changes.lock:
            return sum(self._stops) - sum(self._starts)

    @property
    def reach(self) -> int:
        """Up to where all bytes are there, from the first one on."""
        with self._changes.lock:
            return self._stops[0] if self._starts[:1] == [0] else 0

    def missing(self) -> list[tuple[int, int]]:
        """Give the runs ``[start, stop)`` that are not there."""
        with self._changes.lock:
            edges = zip([0, *self._stops], [*self._starts, self.size], strict=True)
            return [(start, stop) for start, stop in edges if start < stop]

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data` at its place. From any thread.

        Raises
        ------
        ValueError
            If the file was left meanwhile.
        OSError
        """
        with self._changes.lock:
            if self._is_closed:
                raise ValueError("the file was left")
            self._writing += 1
        try:
            at = 0
            while at < len(data):
                at += self._write_some(data[at:], offset + at)
        finally:
            with self._changes.lock:
                self._writing -= 1
                self._changes.tell()
        with self._changes.lock:
            self._note(offset, offset + len(data))

    def read(self, buffer: memoryview, offset: int) -> int:
        """Read what the file has at `offset`."""
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [buffer], offset)
        with self._changes.lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            data = os.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def written_size(self) -> int:
        """Tell how long the file is: others may have written into it."""
        return os.fstat(self._descriptor).st_size

    def save(self) -> None:
        """Write down what is there, so that a later download goes on from here."""
        if not self.is_kept:
            return
        with self._changes.lock:
            done = [list(run) for run in zip(self._starts, self._stops, strict=True)]
        if done == self._saved:
            return
        os.fsync(self._descriptor)
        with open(f"{self.path}.new", "w") as file:
            json.dump({"size": self.size, "done": done}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{self.path}.new", f"{self.path}.done")
        self._saved = done

    def finish(self) -> None:
        """Give it the name of the target; all of it is on the disk then."""
        os.fsync(self._descriptor)
        if fcntl is None:
            self._close()  # Windows renames no file that is open
        # While it is locked: who waits for it would take it for a partial one.
        os.replace(self.path, self._target)
        self._is_finished = True
        self._close()
        self._remove_journal()

    def leave(self, *, keep: bool) -> None:
        """Close it, and remove it unless it shall be kept. No thread writes after that."""
        if not self._is_finished and keep and self.is_kept:
            with suppress(OSError):  # it is the error which brought us here that counts
                self.save()
        elif not self._is_finished:
            self._remove_journal()
            with suppress(OSError):
                os.unlink(self.path)
        self._close()

    def _close(self) -> None:
        while True:
            with self._changes.lock:
                self._is_closed = True
                if not self._writing:
                    descriptor, self._descriptor = self._descriptor, -1
                    break
                waiter = self._changes.waiter()
            waiter.acquire()
        if descriptor >= 0:
            os.close(descriptor)

    def _write_some(self, data: memoryview, offset: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._descriptor, data, offset)
        with self._changes.lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.write(self._descriptor, data)

    def _note(self, start: int, stop: int) -> None:
        """Add a run to those that are done."""
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def _take(self) -> bool:
        """Open and lock the file that is kept; False: it is another's, or cannot be locked."""
        while True:
            try:
                descriptor = os.open(self.path, _FLAGS, 0o666)
            except OSError:
                return False  # a link, for one; what is wrong with the directory is said later
            if not _is_locked_by(descriptor):
                os.close(descriptor)
                return False
            try:
                if os.path.samestat(os.fstat(descriptor), os.lstat(self.path)):
                    self._descriptor = descriptor
                    return True
            except FileNotFoundError:
                pass
            os.close(descriptor)  # whoever had it has finished it meanwhile

    def _load(self) -> bool:
        """Take in what the journal says, if it is one and fits the file."""
        try:
            descriptor = os.open(f"{self.path}.done", os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            with open(descriptor) as file:
                if not _is_ours(descriptor):
                    return False
                told = json.load(file)
            runs = [(int(start), int(stop)) for start, stop in told["done"]]
            edges = [edge for run in runs for edge in run]
            is_fit = told["size"] == self.size == self.written_size()
        except (OSError, ValueError, TypeError, KeyError):
            return False
        if not is_fit or edges != sorted(set(edges)) or (edges and edges[0] < 0):
            return False
        if edges and edges[-1] > self.size:
            return False
        for start, stop in runs:
            self._note(start, stop)
        self._saved = [list(run) for run in runs]
        return True

    def _remove_journal(self) -> None:
        if self.is_kept:
            for end in (".done", ".new"):
                with suppress(FileNotFoundError):
                    os.unlink(self.path + end)


def is_begun(target: str, identity_of_place: str) -> bool:
    """Whether there is something that an earlier download to the target has left."""
    return fcntl is not None and bool(_kept(target, identity_of_place))


def _path(target: str, name: str) -> str:
    return os.path.join(os.path.dirname(target), f"{_PREFIX}{name}.part")


def _kept(target: str, place: str) -> list[str]:
    folder = os.path.dirname(target)
    start = f"{_PREFIX}{place}-"
    with suppress(OSError):
        names = [name for name in os.listdir(folder or ".") if name.startswith(start)]
        return [os.path.join(folder, name) for name in names if name.endswith(".part")]
    return []


def _remove_others(target: str, identity: Identity) -> None:
    """Remove what is of another version, and of nobody who is at work."""
    own = _path(target, f"{identity.place}-{identity.version}")
    for path in _kept(target, identity.place):
        if path == own:
            continue
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                if _is_locked_by(descriptor):
                    for end in (".done", ".new", ""):
                        with suppress(FileNotFoundError):
                            os.unlink(path + end)
            finally:
                os.close(descriptor)


def _is_locked_by(descriptor: int) -> bool:
    """Lock a file of ours, until it is closed; False: another has it."""
    if not _is_ours(descriptor):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_ours(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink <= 1
