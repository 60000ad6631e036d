"""A twin of the core in pure Python, for local files: it shows what Cython is worth.

It keeps the core's rules for position, buffer, lock and end, and its plan for fills, and is as fast
as Python can make it: an immutable buffer, so that a hit is one slice, and calls no helper.
"""

import io
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Twin"]

_LIMIT = 256 << 10
_PAGE = 4 << 10
_DIRECT = 16 << 10
_NEAR = 128 << 10
_CREDIT = 1 << 20
_PIECE = 64 << 20


class Twin(io.BufferedIOBase):
    """A local file, read as `blobread.BlobReader` reads it."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._size = os.fstat(self._descriptor).st_size
        self._buffer = b""
        self._base = 0  # offset of the buffer's first byte
        self._cursor = 0  # in the buffer; beyond it, or below 0, after a far seek
        self._fill = 0
        self._miss = (0, 0)
        self._credit = _CREDIT
        self._hits = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, or all that is left."""
        with self._lock:
            start = self._cursor
            if size is not None and size > 0 and start >= 0:
                stop = start + size
                if stop <= len(self._buffer):
                    self._cursor = stop
                    self._hits += 1
                    return self._buffer[start:stop]
            return self._read_through(-1 if size is None else size)

    def read1(self, size: int | None = -1, /) -> bytes:
        """Read as `read` does, by at most one read of the file."""
        with self._lock:
            kept = self._kept()
            if size is None or size < 0:
                size = kept or _LIMIT
            return self._read_through(min(size, kept) if kept else size)

    def readinto(self, buffer: "Buffer", /) -> int:
        """Fill `buffer`; gives the number of bytes, fewer only at the end."""
        with self._lock:
            start = self._cursor
            with memoryview(buffer) as view:
                size = view.nbytes
                if start >= 0 and 0 < size <= len(self._buffer) - start:
                    stop = start + size
                    if view.format == "B" and view.ndim == 1:
                        view[:] = self._buffer[start:stop]
                    else:
                        view.cast("B")[:] = self._buffer[start:stop]
                    self._cursor = stop
                    self._hits += 1
                    return size
                with view.cast("B") as whole:
                    return self._readinto_through(whole)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read to the end of the line, and at most `size` bytes."""
        with self._lock:
            start = self._cursor
            if size == -1 and start >= 0:
                stop = self._buffer.find(b"\n", start) + 1
                if stop:
                    self._cursor = stop
                    self._hits += 1
                    return self._buffer[start:stop]
            return self._line_through(-1 if size is None else size)

    def __next__(self) -> bytes:
        with self._lock:
            start = self._cursor
            if start >= 0:
                stop = self._buffer.find(b"\n", start) + 1
                if stop:
                    self._cursor = stop
                    self._hits += 1
                    return self._buffer[start:stop]
            line = self._line_through(-1)
        if not line:
            raise StopIteration
        return line

    def peek(self, size: int = 0, /) -> bytes:
        """Give bytes from the position on without moving it."""
        with self._lock:
            if not self._kept():
                self._fill_buffer(self._base + self._cursor)
            return self._buffer[self._cursor :]

    def tell(self) -> int:
        """The position in bytes."""
        self._check_open()
        return self._base + self._cursor

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Set the position; nothing is read."""
        with self._lock:
            self._check_open()
            if whence == 1:
                offset += self._base + self._cursor
            elif whence == 2:
                offset += self._size
            elif whence != 0:
                raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
            if offset < 0:
                raise ValueError(f"negative seek position {offset}")
            self._cursor = offset - self._base
            return offset

    def readable(self) -> bool:
        """True, while it is open."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """True, while it is open."""
        self._check_open()
        return True

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if not self.closed:
                os.close(self._descriptor)
                self._buffer = b""
                self._cursor = 0
                super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def _kept(self) -> int:
        """How many bytes the buffer holds from the position on."""
        return max(0, len(self._buffer) - self._cursor) if self._cursor >= 0 else 0

    def _read_through(self, size: int) -> bytes:
        self._check_open()
        at = self._base + self._cursor
        left = max(0, self._size - at)
        size = left if size < 0 else min(size, left)
        if size == 0:
            return b""
        head = self._buffer[self._cursor : self._cursor + size] if self._cursor >= 0 else b""
        at += len(head)
        size -= len(head)
        if size == 0:
            self._cursor = at - self._base
            return head
        start, fill = self._plan(at, size, False)
        if fill == 0:
            rest = self._bytes_at(size, at)
            self._note_miss(at, size)
        else:
            self._refill(start, fill)
            rest = self._buffer[at - start : at - start + size]
        self._cursor = at + size - self._base
        return head + rest if head else rest

    def _readinto_through(self, view: memoryview) -> int:
        self._check_open()
        at = self._base + self._cursor
        size = min(len(view), max(0, self._size - at))
        kept = min(self._kept(), size)
        if kept:
            view[:kept] = self._buffer[self._cursor : self._cursor + kept]
            self._cursor += kept
        if kept == size:
            return size
        start, fill = self._plan(at + kept, size - kept, False)
        if fill == 0:
            self._pread(view[kept:size], at + kept)
            self._note_miss(at + kept, size - kept)
            self._cursor = at + size - self._base
            return size
        self._refill(start, fill)
        first = at + kept - start
        view[kept:size] = self._buffer[first : first + size - kept]
        self._cursor = at + size - self._base
        return size

    def _line_through(self, most: int) -> bytes:
        self._check_open()
        parts: list[bytes] = []
        at = self._base + self._cursor
        while most and at < self._size:
            if not self._kept():
                self._fill_buffer(at)
            start = self._cursor
            limit = len(self._buffer) if most < 0 else min(len(self._buffer), start + most)
            stop = self._buffer.find(b"\n", start, limit) + 1
            parts.append(self._buffer[start : stop or limit])
            self._cursor = stop or limit
            at = self._base + self._cursor
            if stop:
                break
            if most > 0:
                most -= len(parts[-1])
        return b"".join(parts)

    def _plan(self, at: int, count: int, buffered: bool) -> tuple[int, int]:
        """From where, and how much, a miss brings into the buffer; 0: nothing, read past it."""
        miss_from, miss_to = self._miss
        forward = at >= miss_to
        apart = at - miss_to if forward else miss_from - at
        start, size = at, 0
        if not buffered and count >= _DIRECT:
            return at, 0
        self._credit = min(self._credit + self._hits * _PAGE + 64, _CREDIT)
        self._hits = 0
        if at == miss_to:
            size = max(2 * self._fill, 2 * _PAGE)
        elif apart <= _NEAR:
            size = min(max(2 * self._fill, _PAGE), _LIMIT)
            if self._credit < size:
                size = 0
            else:
                self._credit -= size
                start = max(0, at - (size // 4 if forward else size // 2)) // _PAGE * _PAGE
        self._fill = min(size, _LIMIT)
        if size == 0 and buffered:
            size = max(count, _PAGE)
        size = min(size, _LIMIT)
        if size and start + size < at + count:
            start = at
            size = max(size, count)
        return start, min(size, self._size - start)

    def _fill_buffer(self, at: int) -> None:
        if at >= self._size:
            return
        start, size = self._plan(at, 1, True)
        self._refill(start, size)
        self._cursor = at - start

    def _refill(self, start: int, size: int) -> None:
        """Bring the bytes ``[start, start + size)``; the caller sets the cursor."""
        self._buffer = self._bytes_at(size, start)
        self._base = start
        self._note_miss(start, size)

    def _bytes_at(self, size: int, at: int) -> bytes:
        out = os.pread(self._descriptor, size, at)
        if len(out) == size:
            return out
        rest = bytearray(size - len(out))
        self._pread(memoryview(rest), at + len(out))
        return out + rest

    def _pread(self, view: memoryview, at: int) -> None:
        done = 0
        while done < len(view):
            got = os.preadv(self._descriptor, [view[done : done + _PIECE]], at + done)
            if got == 0:
                raise OSError("the file is shorter than it was when it was opened")
            done += got

    def _note_miss(self, start: int, size: int) -> None:
        self._miss = (start, start + size)
