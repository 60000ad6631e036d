# cython: language_level=3, auto_pickle=False, autotestdict=False
# cython: embedsignature=True, embedsignature.format=clinic
"""`BlobReader`: the position, who is at it, and all that a binary file does.

How the state of a reader hangs together, for those who change it:

* The position is ``end - have``. While a call is busy, and when the reader is closed, `have` is 0:
  so the one comparison ``n <= have`` tells a hit from all else, and a hit needs no lock (it runs
  under the GIL, whole).
* A cursor call is bracketed by `enter` and `leave`; a positional one only counts itself in and out.
  Both keep `users`, and the last one out of a closed reader frees what it held: a descriptor that
  is closed under a running pread would be given to another file, and its bytes to our caller.
* A call moves `end` only when it has succeeded, so that an exception leaves the position where it
  was.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_WRITABLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memchr, memcpy

import io
import os
import warnings
from _thread import allocate_lock
from typing import NamedTuple

from .errors import BlobIsDirectoryError

include "_source.pxi"
include "_local.pxi"
include "_buffer.pxi"
include "_ranges.pxi"

cdef extern from "Python.h":
    int GetBuffer "PyObject_GetBuffer"(object owner, Py_buffer *view, int flags)
    void PyErr_Clear()
    bint PyErr_ExceptionMatches(object kind)
    unsigned long PyThread_get_thread_ident() nogil
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1
    char *PyByteArray_AS_STRING(object array)
    Py_ssize_t PyByteArray_GET_SIZE(object array)
    object PyNumber_Index(object number)

cdef Py_ssize_t AUTO = 256 << 10    # of a buffer: beyond it bytes leave the CPU's cache before use
cdef Py_ssize_t MOST = 1 << 30
cdef Py_ssize_t PEEK = 8 << 10      # pickle peeks 128 KiB at each object, and uses little of it
cdef Py_ssize_t PART = 64 << 10     # in which a blob of unknown size is read

cdef object ZERO = 0
cdef object MINUS_ONE = -1          # small ints are single objects: a default is told by identity

cdef int forks = 0                  # how many forks lie between this process and its start


def _count_fork():
    global forks
    forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class ReaderStats(NamedTuple):
    """What a reader has done so far.

    Attributes
    ----------
    requests : int
        Times that the store was asked for bytes: streams opened, or reads at a position.
    bytes_fetched : int
        Bytes that came from the store.
    bytes_delivered : int
        Bytes handed to the caller.
    bytes_wasted : int
        Bytes fetched and dropped without having been delivered.
    stalls : int
        Times that the caller had to wait for the store.
    retries : int
        Requests made again after a failure; a reader without an engine makes none.
    connections : int
        Connections that were made for this reader's requests.

    Notes
    -----
    Over an engine all but `bytes_delivered` are what the engine says: it knows what it asked for.
    """

    requests: int
    bytes_fetched: int
    bytes_delivered: int
    bytes_wasted: int
    stalls: int
    retries: int
    connections: int


cdef inline int take_caller(object owner, Py_buffer *view) except -1:
    """Take the caller's memory."""
    if GetBuffer(owner, view, PyBUF_WRITABLE) == 0:
        return 0
    if not PyErr_ExceptionMatches(Exception):
        return -1       # Ctrl-C, in a __buffer__() of Python's
    PyErr_Clear()
    return take_unusual(owner, view)


cdef int take_unusual(object owner, Py_buffer *view) except -1:
    """Take the memory of a tensor that only speaks DLPack; or say why this is not fit."""
    if not PyObject_CheckBuffer(owner):
        if not hasattr(owner, "__dlpack__"):
            raise TypeError(f"a writable buffer is needed, not {type(owner).__name__}")
        from .dlpack import byte_view

        owner = byte_view(owner)
    try:
        PyObject_GetBuffer(owner, view, PyBUF_WRITABLE)
    except ValueError as exc:
        # NumPy says ValueError to a read-only or a strided array.
        raise BufferError(f"cannot read into this {type(owner).__name__}: {exc}") from exc
    return 0


cdef int64_t as_offset(object number) except? -1:
    cdef int overflow = 0
    cdef int64_t value = PyLong_AsLongLongAndOverflow(PyNumber_Index(number), &overflow)
    if overflow:
        raise OverflowError("an offset must lie between -2**63 and 2**63 - 1")
    return value


cdef inline Py_ssize_t as_length(object number) except? -2:
    """A length for a read; None and -1 are all that is left."""
    if number is None:
        return -1
    cdef Py_ssize_t count = number
    if count < -1:
        raise ValueError("read length must be non-negative or -1")
    return count


cdef inline Py_ssize_t as_limit(object number) except? -2:
    """A limit where any negative number is none, as everywhere in io but in read()."""
    cdef Py_ssize_t count = -1 if number is None else number
    return max(count, -1)


cdef Py_ssize_t buffer_limit(object driver, object size) except -1:
    """The most bytes of a fill."""
    if isinstance(size, str):
        if size != "auto":
            raise ValueError(f"buffer_size must be a number of bytes or 'auto', not {size!r}")
        size = getattr(driver, "buffer_size", AUTO)
    size = PyNumber_Index(size)
    if size < 1:
        raise ValueError(f"buffer_size must be at least 1 byte, not {size}")
    return min(size, MOST)


cdef class BlobReader:
    """A blob as a binary file: read-only, seekable, buffered.

    Parameters
    ----------
    driver : StorageDriver
    path : str
        Of the blob, in the driver's terms.
    info : BlobInfo, optional
        What is known of the blob already: then creation asks nothing of the store, and the version
        that `info` names is the one that is read.
    missing : {"raise", "eof"}
        ``"eof"`` makes an absent blob read as an empty one. This hides lost data; see README.
    buffer_size : int or "auto"
        The most bytes that the buffer may grow to; "auto" leaves it to the driver.

    Raises
    ------
    PathNotFoundError
        There is no such blob, and `missing` is "raise".
    BlobIsDirectoryError
    ValueError
        For a negative size, or an unknown `missing` or `buffer_size`.

    Notes
    -----
    Size and version are those of the creation. A change that is seen raises `BlobChangedError`; two
    versions are never mixed. Many threads may use one reader; `read_at` and `readinto_at` run side
    by side.
    """

    cdef const char *cursor     # next byte of a hit
    cdef Py_ssize_t have        # bytes from there on
    cdef int64_t end            # offset of what lies behind them; -1: closed
    cdef int64_t delivered

    cdef _Source source
    cdef _Buffer buffer
    cdef object buffer_size

    cdef bint busy
    cdef unsigned long owner    # thread that is at the cursor
    cdef int users              # calls that are under way
    cdef int forked             # value of `forks` that this state belongs to
    cdef list waiting           # locks of those that wait for the cursor
    cdef object __weakref__

    def __cinit__(self, driver, path, *, info=None, missing="raise", buffer_size="auto"):
        self.end = -1
        self.forked = forks
        if missing not in ("raise", "eof"):
            raise ValueError(f"missing must be 'raise' or 'eof', not {missing!r}")
        self.buffer_size = buffer_size
        self.source = source = _Source(driver, path, info, missing == "eof")
        self.buffer = _Buffer(source, buffer_limit(driver, buffer_size))
        try:
            if info is None:
                info = source.open_first()
            if info.is_dir:
                raise source.failure(BlobIsDirectoryError, "is a directory")
            if info.size is not None:
                source.total = as_offset(info.size)
                if source.total < 0:
                    raise ValueError(f"the size of a blob cannot be negative: {info.size}")
        except BaseException:
            source.stop_engine()
            source.drop_stream()
            raise
        source.closed = False
        self.end = 0

    # ---- who is at the cursor, and who is the last one out ---------------------------------------

    cdef int enter(self) except -1:
        """Take the cursor: wait for it, see that the reader is open, end the hits of the buffer."""
        if self.forked != forks:
            self.after_fork()
        while self.busy:
            self.wait()
        if self.end < 0:
            self.wake()
            self.source.check_open()
        self.busy = True
        self.owner = PyThread_get_thread_ident()
        self.users += 1
        self.end -= self.have
        self.have = 0
        self.buffer.note_seen(self.end)
        return 0

    cdef int leave(self) except -1:
        self.busy = False
        if self.end >= 0:
            self.place(self.end)
        self.wake()
        return self.count_out()

    cdef int count_out(self) except -1:
        self.users -= 1
        if self.end < 0 and self.users == 0:
            self.drop()
        return 0

    cdef int wait(self) except -1:
        if self.owner == PyThread_get_thread_ident():
            raise RuntimeError(f"reentrant call inside {self!r}")
        if self.waiting is None:
            self.waiting = []
        lock = allocate_lock()
        lock.acquire()
        self.waiting.append(lock)
        try:
            lock.acquire()
        except BaseException:
            if lock in self.waiting:
                self.waiting.remove(lock)
            else:
                self.wake()     # the turn was ours already: hand it on
            raise
        return 0

    cdef int wake(self) except -1:
        if self.waiting:
            self.waiting.pop(0).release()
        return 0

    cdef int after_fork(self) except -1:
        """In a child the other threads are gone, and with them the calls that they were in."""
        self.forked = forks
        self.busy = False
        self.users = 0
        self.waiting = None
        return self.source.after_fork()

    cdef int place(self, int64_t target) noexcept:
        """Set the position; what the buffer holds from there on can be hit."""
        cdef _Buffer buffer = self.buffer
        buffer.mark = target
        if buffer.holds(target):
            self.cursor = buffer.base + (target - buffer.base_at)
            self.have = buffer.filled - (target - buffer.base_at)
            self.end = target + self.have
        else:
            self.have = 0
            self.end = target
        return 0

    cdef int drop(self) except -1:
        """Free all that the reader holds."""
        self.buffer.drop()
        self.buffer.memory = None
        # Anew, where close() had to wake others: one may have asked for more since.
        self.source.stop_engine()
        return self.source.drop_stream()

    # ---- reads at the cursor ---------------------------------------------------------------------

    cdef inline object take(self, Py_ssize_t count):
        """The next `count` bytes, which the buffer holds."""
        out = PyBytes_FromStringAndSize(self.cursor, count)
        self.move(count)
        return out

    cdef inline int hit(self, char *to, Py_ssize_t count) noexcept:
        memcpy(to, self.cursor, count)
        return self.move(count)

    cdef inline int move(self, Py_ssize_t count) noexcept:
        self.cursor += count
        self.have -= count
        self.delivered += count
        self.buffer.hits += 1
        return 0

    cdef object read_through(self, Py_ssize_t count, bint once):
        """read() and read1() where the buffer does not hold all of it."""
        cdef Py_ssize_t got
        cdef int64_t at
        self.enter()
        try:
            at = self.end
            if count < 0 and self.source.total < 0:
                out = self.read_unknown(at)
                got = len(out)
            else:
                count = self.source.clamp(at, count)
                if count <= 0:
                    return b""
                out = PyBytes_FromStringAndSize(NULL, count)
                got = self.buffer.read(PyBytes_AS_STRING(out), count, at, out, once)
                if got < count:
                    out = out[:got]
            self.source.check_open()
            self.end = at + got
            self.delivered += got
            return out
        finally:
            self.leave()

    cdef object read_lone(self, Py_ssize_t count):
        """A small read of a file, far from all that was read before: one pread, and little else.

        Returns after a system call are slow, so what read_through() does in six calls is done here
        in one.
        """
        cdef _Source source = self.source
        cdef int64_t at = self.end
        cdef int fd = source.descriptor
        cdef long long got
        out = PyBytes_FromStringAndSize(NULL, count)
        cdef char *to = PyBytes_AS_STRING(out)
        self.busy = True
        self.owner = PyThread_get_thread_ident()
        self.users += 1
        with nogil:
            got = blobread_pread(fd, to, count, at)
        self.busy = False
        self.users -= 1
        if got != count or source.closed:
            # Interrupted, short, failed or closed: that has its ways.
            self.users += 1
            self.leave()
            return self.read_through(count, False)
        self.buffer.note_miss(at, count)
        self.buffer.last = 0
        source.requests += 1
        source.stalls += 1
        source.fetched += count
        self.delivered += count
        self.end = at + count
        if self.waiting is not None:
            self.wake()
        return out

    cdef bytes read_unknown(self, int64_t at):
        """All from `at` on, of a blob whose size is known only when its stream ends."""
        cdef _Target part = target_of_size(PART)
        cdef Py_ssize_t got, done = 0
        parts = []
        while True:
            got = self.buffer.read(part.to, PART, at + done, part, True)
            if got == 0:
                return b"".join(parts)
            done += got
            parts.append(PyBytes_FromStringAndSize(part.to, got))

    cdef Py_ssize_t readinto_through(self, _Target target, bint once) except -1:
        """readinto() and readinto1() where the buffer does not hold all of it."""
        cdef Py_ssize_t got
        cdef int64_t at
        self.enter()
        try:
            at = self.end
            got = self.source.clamp(at, target.size)
            if got:
                got = self.buffer.read(target.to, got, at, target, once)
            self.source.check_open()
            self.end = at + got
            self.delivered += got
            return got
        finally:
            self.leave()

    cdef object line_through(self, Py_ssize_t most):
        """readline() where the buffer does not hold all of the line."""
        cdef _Buffer buffer = self.buffer
        cdef Py_ssize_t count
        cdef int64_t at
        cdef const char *line
        cdef const char *stop = NULL
        parts = []
        self.enter()
        try:
            at = self.end
            while most and stop is NULL:
                if not buffer.holds(at) and buffer.fill(at) == 0:
                    break
                line = buffer.base + (at - buffer.base_at)
                count = buffer.filled - (at - buffer.base_at)
                if 0 <= most < count:
                    count = most
                stop = <const char *>memchr(line, c"\n", count)
                if stop is not NULL:
                    count = stop - line + 1
                parts.append(PyBytes_FromStringAndSize(line, count))
                buffer.mark_seen(at, at + count)
                at += count
                if most > 0:
                    most -= count
            self.source.check_open()
            self.delivered += at - self.end
            self.end = at
        finally:
            self.leave()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @cython.binding(False)
    def read(self, size=-1, /):
        """Read `size` bytes, or all that is left; fewer only at the end of the blob.

        Raises
        ------
        BlobError
            The position stays where it was.
        """
        cdef Py_ssize_t count = as_length(size)
        if 0 < count <= self.have:
            return self.take(count)
        if (
            count > 0 and self.have == 0 and self.end >= 0 and not self.busy
            and self.buffer.is_lone(self.end, count)
        ):
            return self.read_lone(count)
        return self.read_through(count, False)

    @cython.binding(False)
    def read1(self, size=-1, /):
        """Read 1 to `size` bytes by at most one read of the store; ``b""`` only at the end."""
        cdef Py_ssize_t count = as_limit(size)
        if self.have == 0 and count < 0:
            self.fill_buffer()
        if self.have > 0:
            return self.take(self.have if count < 0 else min(count, self.have))
        return self.read_through(max(count, 0), True)

    @cython.binding(False)
    def readinto(self, buffer, /):
        """Fill `buffer`, of any item type and shape; give how many bytes, fewer only at the end.

        Parameters
        ----------
        buffer : writable C-contiguous buffer, or CPU tensor that speaks DLPack

        Raises
        ------
        TypeError, BufferError
            The buffer is not fit, before anything was read.
        BlobError
            The position stays where it was, and what is in `buffer` is undefined.
        """
        cdef Py_buffer view
        cdef Py_ssize_t count
        if type(buffer) is bytearray:
            count = PyByteArray_GET_SIZE(buffer)
            if 0 < count <= self.have:
                # Nothing can resize it before the copy is done: there is no need to export it.
                self.hit(PyByteArray_AS_STRING(buffer), count)
                return count
        take_caller(buffer, &view)
        count = view.len
        if 0 < count <= self.have:
            self.hit(<char *>view.buf, count)
            PyBuffer_Release(&view)
            return count
        return self.readinto_through(target_of_caller(&view), False)

    def readinto1(self, buffer, /):
        """Like `readinto`, by at most one read of the store: 1 byte or more, 0 only at the end."""
        cdef Py_buffer view
        take_caller(buffer, &view)
        return self.readinto_through(target_of_caller(&view), True)

    def readall(self):
        """Read all that is left."""
        return self.read_through(-1, False)

    @cython.binding(False)
    def readline(self, size=-1, /):
        """Read to the end of the line, its newline included, and at most `size` bytes."""
        cdef const char *stop
        if self.have > 0 and size is MINUS_ONE:
            stop = <const char *>memchr(self.cursor, c"\n", self.have)
            if stop is not NULL:
                return self.take(stop - self.cursor + 1)
        return self.line_through(as_limit(size))

    def readlines(self, hint=-1, /):
        """Read the lines that are left, or until they have more than `hint` bytes."""
        cdef Py_ssize_t most = as_limit(hint)
        cdef Py_ssize_t total = 0
        cdef list lines = []
        cdef int64_t start = self.tell()
        try:
            for line in self:
                lines.append(line)
                total += len(line)
                if 0 < most < total:
                    break
        except BaseException:
            if self.end >= 0:
                self.go_back(start)
            raise
        return lines

    cdef int go_back(self, int64_t start) except -1:
        """Have the position that was before, even where the bytes from there on are gone."""
        self.enter()
        self.end = start
        return self.leave()

    def __iter__(self):
        self.source.check_open()
        return self

    def __next__(self):
        cdef const char *stop
        if self.have > 0:
            stop = <const char *>memchr(self.cursor, c"\n", self.have)
            if stop is not NULL:
                return self.take(stop - self.cursor + 1)
        line = self.line_through(-1)
        if not line:
            raise StopIteration
        return line

    def peek(self, size=0, /):
        """Give bytes from the position on without moving it: one or more, unless at the end."""
        as_length(size)
        if self.have == 0:
            self.fill_buffer()
        return PyBytes_FromStringAndSize(self.cursor, min(self.have, PEEK))

    cdef int fill_buffer(self) except -1:
        """Have bytes at the cursor for a hit, if there are any left."""
        self.enter()
        try:
            self.buffer.fill(self.end)
            self.source.check_open()
        finally:
            self.leave()
        return 0

    # ---- the position ----------------------------------------------------------------------------

    @cython.binding(False)
    def tell(self):
        """The position in bytes."""
        if self.end < 0:
            self.source.check_open()
        return self.end - self.have

    @cython.binding(False)
    def seek(self, offset, whence=0, /):
        """Set the position, and give it; nothing is asked of the store. Beyond the end is allowed.

        Raises
        ------
        ValueError
            For a negative position or an unknown `whence`.
        OverflowError
            For a position beyond 2**63 - 1.
        io.UnsupportedOperation
            From the end, or back, where the size is unknown.
        """
        cdef int64_t target = as_offset(offset)
        if whence is not ZERO or target < 0 or self.busy or self.end < 0 or self.source.total < 0:
            return self.seek_through(target, PyNumber_Index(whence))
        self.buffer.note_seen(self.end - self.have)
        self.place(target)
        return target

    cdef int64_t seek_through(self, int64_t offset, object whence) except -1:
        """seek() where another thread is at the cursor, or the target has to be found first."""
        cdef int64_t target
        self.enter()
        try:
            target = self.from_whence(offset, whence)
            if (
                self.source.total < 0 and target < self.buffer.miss_to
                and not self.buffer.holds(target)
            ):
                raise io.UnsupportedOperation(READ_ONCE)
            self.end = target
            return target
        finally:
            self.leave()

    cdef int64_t from_whence(self, int64_t offset, object whence) except -1:
        cdef int64_t origin
        if whence == 0:
            origin = 0
        elif whence == 1:
            origin = self.end
        elif whence == 2:
            if self.source.total < 0:
                raise io.UnsupportedOperation(
                    "the size of this blob is unknown: it has no end to seek from"
                )
            origin = self.source.total
        else:
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if offset > INT64_MAX - origin:
            raise OverflowError("an offset must lie between -2**63 and 2**63 - 1")
        if origin + offset < 0:
            raise ValueError(f"negative seek position {origin + offset}")
        return origin + offset

    # ---- reads at an offset ----------------------------------------------------------------------

    def read_at(self, size, offset):
        """Read `size` bytes (-1: all) from `offset` on, fewer only at the end of the blob.

        The position neither matters nor moves; many threads may do this at once.

        Raises
        ------
        ValueError
            For a negative offset.
        io.UnsupportedOperation
            The size of the blob is unknown.
        """
        cdef int64_t at = as_offset(offset)
        cdef Py_ssize_t count = as_length(size)
        cdef Py_ssize_t got
        self.enter_at(at)
        try:
            count = self.source.clamp(at, count)
            if count == 0:
                return b""
            out = PyBytes_FromStringAndSize(NULL, count)
            got = self.fill_at(PyBytes_AS_STRING(out), count, at, out)
            return out if got == count else out[:got]
        finally:
            self.count_out()

    def readinto_at(self, buffer, offset):
        """Fill `buffer` from `offset` on; give the number of bytes, fewer only at the end.

        As `read_at`, straight into the caller's memory.
        """
        cdef int64_t at = as_offset(offset)
        cdef Py_ssize_t count
        cdef Py_buffer view
        cdef _Target target
        take_caller(buffer, &view)
        target = target_of_caller(&view)
        self.enter_at(at)
        try:
            count = self.source.clamp(at, target.size)
            return self.fill_at(target.to, count, at, target) if count else 0
        finally:
            self.count_out()

    cdef int enter_at(self, int64_t at) except -1:
        self.source.check_open()
        if at < 0:
            raise ValueError(f"negative offset {at}")
        if self.source.total < 0:
            raise io.UnsupportedOperation(READ_ONCE)
        if self.forked != forks:
            self.after_fork()
        self.users += 1
        return 0

    cdef Py_ssize_t fill_at(self, char *to, Py_ssize_t count, int64_t at, object owner) except -1:
        cdef Py_ssize_t done
        if self.buffer.holds(at) and self.buffer.holds(at + count - 1):
            done = self.buffer.copy(to, count, at)
            self.buffer.mark_seen(at, at + done)
        else:
            done = self.source.fill_at_offset(to, count, at, owner)
        self.delivered += done
        return done

    # ---- many reads at offsets -------------------------------------------------------------------

    def read_ranges(self, offsets, sizes):
        """Read many ranges at once: `sizes[i]` bytes from `offsets[i]` on, or raise.

        They may overlap, and lie in any order. As with `read_at`, the position neither matters nor
        moves, and many threads may do this at once.

        Parameters
        ----------
        offsets, sizes : iterable of int, or integer array
            In bytes, and equally many.

        Returns
        -------
        list of memoryview
            In the order of `offsets`, each writable and over memory of its own, which lives as long
            as the view does.

        Raises
        ------
        EOFError
            A range is not wholly within the blob; nothing was read.
        ValueError
            A number is negative, or there are more offsets than sizes, or fewer.
        io.UnsupportedOperation
            The size of the blob is unknown.
        BlobError
            With a note that says which range could not be read.
        """
        cdef list starts = numbers_of(offsets, "offset")
        cdef list counts = numbers_of(sizes, "size")
        cdef list targets
        self.enter_ranges(starts, counts)
        try:
            check_ranges(starts, counts, self.source.total)
            targets = [target_of_size(count) for count in counts]
            self.fill_ranges(starts, targets)
        finally:
            self.count_out()
        return [memoryview((<_Target>target).keeper) for target in targets]

    def readinto_ranges(self, offsets, buffers):
        """Fill each of `buffers` from its offset on, or raise; give the number of bytes in all.

        As `read_ranges`, straight into the caller's memory: any buffer that `readinto` takes.

        Raises
        ------
        TypeError, BufferError
            A buffer is not fit, before anything was read.
        """
        cdef list starts = numbers_of(offsets, "offset")
        cdef list targets = targets_of_callers(buffers)
        cdef list counts = [(<_Target>target).size for target in targets]
        self.enter_ranges(starts, counts)
        try:
            check_ranges(starts, counts, self.source.total)
            self.fill_ranges(starts, targets)
        finally:
            self.count_out()
        return sum(counts)

    def prefetch(self, offsets, sizes):
        """Say what will be read soon, so that it can be brought here meanwhile: a hint, no more.

        What lies beyond the end is left out. Without an engine nothing is done.

        Parameters
        ----------
        offsets, sizes : iterable of int, or integer array
            In bytes, and equally many.

        Raises
        ------
        ValueError, io.UnsupportedOperation
            As `read_ranges`.
        """
        cdef _Source source = self.source
        cdef list starts = numbers_of(offsets, "offset")
        cdef list counts = numbers_of(sizes, "size")
        self.enter_ranges(starts, counts)
        try:
            prefetch = method_for_many(source, "prefetch")
            counts = [source.clamp(at, count) for at, count in zip(starts, counts)]
            starts = [at for at, count in zip(starts, counts) if count]
            if prefetch is not None and starts:
                prefetch(source.path, starts, [count for count in counts if count], source.info)
        finally:
            self.count_out()

    cdef int enter_ranges(self, list offsets, list sizes) except -1:
        if len(offsets) != len(sizes):
            raise ValueError(f"{len(offsets)} offsets are not for {len(sizes)} ranges")
        return self.enter_at(0)

    cdef int fill_ranges(self, list offsets, list targets) except -1:
        cdef list wanted = [
            index for index in range(len(targets)) if (<_Target>targets[index]).size
        ]
        fill = method_for_many(self.source, "readinto_ranges")
        if fill is None:
            wanted.sort(key=offsets.__getitem__)
            for index in wanted:
                self.fill_range(index, offsets[index], targets[index])
        elif wanted:
            targets = [targets[index] for index in wanted]
            engine_into_ranges(self.source, fill, [offsets[index] for index in wanted], targets)
            for target in targets:
                self.delivered += (<_Target>target).size
        return 0

    cdef int fill_range(self, object index, int64_t at, _Target target) except -1:
        try:
            self.source.check_open()
            if self.fill_at(target.to, target.size, at, target) < target.size:
                raise EOFError("the blob has gone, and reads as an empty one")
        except Exception as exc:
            exc.add_note(shown_range(index, at, target.size))
            raise
        return 0

    # ---- the rest of a binary file ---------------------------------------------------------------

    def close(self):
        """Free what the reader holds, at once; calls in other threads raise `ValueError`."""
        if self.end < 0:
            return
        if self.forked != forks:
            self.after_fork()
        self.buffer.note_seen(self.end - self.have)
        self.source.closed = True
        self.have = 0
        self.end = -1
        if self.users == 0:
            self.drop()
        else:
            self.source.wake()  # the last one out drops the rest

    @property
    def closed(self):
        """Whether `close` was called."""
        return self.end < 0

    def __enter__(self):
        self.source.check_open()
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        if self.end < 0 or self.source is None:     # None: it was called with wrong arguments
            return
        try:
            if self.source.stream is not None or self.buffer.lender is not None:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            self.close()

    def readable(self):
        """True, while it is open."""
        self.source.check_open()
        return True

    def writable(self):
        """False: blobs are read."""
        self.source.check_open()
        return False

    def seekable(self):
        """Whether the size is known; else the blob can only be read on."""
        self.source.check_open()
        return self.source.total >= 0

    def isatty(self):
        """False."""
        self.source.check_open()
        return False

    def flush(self):
        """Do nothing: there is nothing to write."""
        self.source.check_open()

    def fileno(self):
        """Raise `io.UnsupportedOperation`: no descriptor stands for a blob's bytes."""
        self.source.check_open()
        raise io.UnsupportedOperation("a blob has no file descriptor")

    def detach(self):
        """Raise `io.UnsupportedOperation`: there is no raw file below."""
        raise io.UnsupportedOperation("a blob has no raw file below it")

    def write(self, data, /):
        """Raise `io.UnsupportedOperation`."""
        raise io.UnsupportedOperation("a blob is read-only")

    def writelines(self, lines, /):
        """Raise `io.UnsupportedOperation`."""
        raise io.UnsupportedOperation("a blob is read-only")

    def truncate(self, size=None, /):
        """Raise `io.UnsupportedOperation`."""
        raise io.UnsupportedOperation("a blob is read-only")

    @property
    def mode(self):
        """``"rb"``."""
        return "rb"

    @property
    def name(self):
        """The path, without secrets."""
        return self.source.shown()

    @property
    def driver(self):
        """The `StorageDriver`."""
        return self.source.driver

    @property
    def path(self):
        """The path as the driver knows it."""
        return self.source.path

    @property
    def info(self):
        """`BlobInfo`: what the store said at creation."""
        return self.source.info

    @property
    def size(self):
        """In bytes; None while it is unknown."""
        return None if self.source.total < 0 else self.source.total

    @property
    def verified(self):
        """Whether all bytes were read in order, and the digest was right."""
        return bool(getattr(self.source.driver, "verified", False))

    @property
    def stats(self):
        """`ReaderStats` up to now."""
        cdef _Source source = self.source
        own = ReaderStats(
            requests=source.requests,
            bytes_fetched=source.fetched,
            bytes_delivered=self.delivered,
            bytes_wasted=source.wasted,
            stalls=source.stalls,
            retries=0,
            connections=source.connections,
        )
        counters = getattr(source.driver, "counters", None)
        if counters is None or not source.has_engine():
            return own
        told = counters()
        return own._replace(
            **{name: getattr(told, name) for name in own._fields if hasattr(told, name)}
        )

    def __repr__(self):
        state = "closed" if self.closed else f"size={self.size}"
        return f"<blobread.BlobReader {self.source.driver.name}:{self.name!r} {state}>"

    def __reduce__(self):
        self.source.check_open()
        cdef _Source source = self.source
        missing = "eof" if source.missing_is_eof else "raise"
        position = self.end - self.have
        return _reopen, (
            source.driver, source.path, source.info, missing, self.buffer_size, position
        )

    def __dask_tokenize__(self):
        import hashlib
        import uuid

        cdef _Source source = self.source
        shown = source.shown()
        if shown != source.path:
            # What was left out may be a secret, and may be what tells two blobs apart.
            shown += "#" + hashlib.sha256(source.path.encode("utf-8", "surrogatepass")).hexdigest()
        # Without a version nothing tells that two readers give the same bytes.
        return f"{source.driver.name}:{shown}", source.info.version or uuid.uuid4().hex, self.size


def _reopen(driver, path, info, missing, buffer_size, position):
    """What a pickled reader becomes: it opens its stream at the first read."""
    reader = BlobReader(driver, path, info=info, missing=missing, buffer_size=buffer_size)
    (<BlobReader>reader).end = position
    return reader


io.BufferedIOBase.register(BlobReader)
