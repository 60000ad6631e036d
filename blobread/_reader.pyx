# cython: language_level=3, auto_pickle=False, autotestdict=False
# cython: embedsignature=True, embedsignature.format=clinic
"""The core: offset, end at the size, buffer, and reads into the caller's memory.

It is handed a driver and asks it for bytes; it knows no store, no network and no threads of its own.

How the state of a reader hangs together, for those who change it:

* The position is ``end - have``. While a call is busy, and when the reader is closed, `have` is 0: so the one
  comparison ``n <= have`` tells a hit from all else, and a hit needs no lock (it runs under the GIL, whole).
* `base[0:filled]` holds the blob's bytes from `base_at` on. It is empty while it is being filled.
* A cursor call is bracketed by `enter` and `leave`; a positional one only counts itself in and out. Both keep
  `users`, and the last one out of a closed reader frees what it held: a descriptor that is closed under a
  running pread would be given to another file, and its bytes to our caller.
* A call moves `end` only when it has succeeded, so that an exception leaves the position where it was.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR
from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memchr, memcpy

import io
import os
import warnings
from _thread import allocate_lock
from typing import NamedTuple

from .driver import BlobInfo
from .errors import (
    BlobChangedError, BlobError, BlobIsDirectoryError, InvalidOffsetError, PathNotFoundError, ProtocolError,
    TruncatedBlobError,
)

cdef extern from "_pread.h":
    long long blobread_pread(int fd, void *to, size_t count, long long offset) nogil

cdef extern from "Python.h":
    char *PyByteArray_AS_STRING(object array)
    object PyByteArray_FromStringAndSize(const char *data, Py_ssize_t size)
    int GetBuffer "PyObject_GetBuffer"(object owner, Py_buffer *view, int flags)
    void PyErr_Clear()
    unsigned long PyThread_get_thread_ident() nogil
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1
    Py_ssize_t PyLong_AsSsize_t(object number) except? -1
    object PyNumber_Index(object number)

cdef Py_ssize_t BUFFER = 256 << 10  # beyond it the bytes fall out of the CPU's cache before they are used

cdef Py_ssize_t PAGE = 4 << 10      # the smallest fill
cdef Py_ssize_t DIRECT = 64 << 10   # from here on a read goes past the buffer
cdef Py_ssize_t LOCAL_DIRECT = 16 << 10   # a pread costs less than the second copy does
cdef Py_ssize_t BLOCK = 16 << 10    # a lone read of a stream is rounded to blocks, and takes two
cdef Py_ssize_t SKIP = 256 << 10    # so far ahead, reading on is cheaper than a new request
cdef Py_ssize_t NEAR = 128 << 10    # misses that are no further apart belong together
cdef Py_ssize_t PIECE = 64 << 20    # of one pread: the longest that a signal waits
cdef int64_t CREDIT = 1 << 20       # see plan()

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
        Requests made again after a failure.
    connections : int
        Connections that were made for this reader's requests.
    """

    requests: int
    bytes_fetched: int
    bytes_delivered: int
    bytes_wasted: int
    stalls: int
    retries: int
    connections: int


@cython.final
cdef class _Target:
    """The caller's memory as plain bytes, for a stream to fill.

    A view of it that a stream keeps holds the memory alive: it can be late, but never write into freed memory.
    """

    cdef Py_buffer source
    cdef object result      # a bytes object that is being made
    cdef char *to
    cdef Py_ssize_t size

    def __cinit__(self, owner):
        if type(owner) is bytes:
            self.result = owner
            self.to = PyBytes_AS_STRING(owner)
            self.size = len(owner)
            return
        PyObject_GetBuffer(owner, &self.source, PyBUF_WRITABLE)
        self.to = <char *>self.source.buf
        self.size = self.source.len

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.to, self.size, 0, flags)

    def __dealloc__(self):
        if self.result is None and self.source.buf is not NULL:
            PyBuffer_Release(&self.source)


cdef object window(object owner, Py_ssize_t start, Py_ssize_t stop):
    """A view of the bytes [start, stop) of `owner`, to be released after use."""
    whole = memoryview(owner if type(owner) is bytearray else _Target(owner))
    if start == 0 and stop == whole.nbytes:
        return whole
    part = whole[start:stop]
    whole.release()
    return part


cdef Py_ssize_t checked(object got, Py_ssize_t most, str what) except -1:
    """No length that Python code returns is believed."""
    cdef Py_ssize_t count
    if isinstance(got, int):
        if 0 <= got <= most:
            count = got
            return count
        raise ProtocolError(f"{what} returned invalid length {got} (should have been between 0 and {most})")
    raise ProtocolError(f"{what} returned {type(got).__name__}, which is no length")


cdef int take_buffer(object owner, Py_buffer *view) except -1:
    """Take the caller's memory, or say why it is not fit."""
    if not PyObject_CheckBuffer(owner):
        raise TypeError(f"a writable buffer is needed, not {type(owner).__name__}")
    if GetBuffer(owner, view, PyBUF_WRITABLE) == 0:
        return 0
    PyErr_Clear()
    try:
        PyObject_GetBuffer(owner, view, PyBUF_WRITABLE)
    except ValueError as exc:
        # NumPy says ValueError to a read-only or a strided array.
        raise BufferError(f"cannot read into this {type(owner).__name__}: {exc}") from exc
    return 0


cdef object tensor_view(object owner):
    """A view of a tensor that only speaks DLPack; all else as it is."""
    if not hasattr(owner, "__dlpack__"):
        return owner
    from .dlpack import byte_view

    return byte_view(owner)


cdef int64_t as_offset(object number) except? -1:
    cdef int overflow = 0
    cdef int64_t value = PyLong_AsLongLongAndOverflow(PyNumber_Index(number), &overflow)
    if overflow:
        raise OverflowError("an offset must lie between -2**63 and 2**63 - 1")
    return value


cdef Py_ssize_t as_length(object number) except? -2:
    """A length for a read; None and -1 are all that is left."""
    cdef Py_ssize_t n
    if number is None:
        return -1
    n = PyLong_AsSsize_t(PyNumber_Index(number))
    if n < -1:
        raise ValueError("read length must be non-negative or -1")
    return n


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
    Size and version are those of the creation. A change that is seen raises `BlobChangedError`; two versions
    are never mixed. Many threads may use one reader; `read_at` and `readinto_at` run side by side.
    """

    # The path of a hit: the first cache line.
    cdef const char *cursor
    cdef Py_ssize_t have
    cdef int64_t end            # offset of what lies behind cursor[have - 1]; -1: closed
    cdef int64_t delivered
    cdef int64_t hits

    cdef char *base
    cdef int64_t base_at
    cdef Py_ssize_t filled
    cdef int64_t seen_from      # which part of the buffer was handed out
    cdef int64_t seen_to
    cdef object memory          # bytearray that `base` points into, or None
    cdef Py_buffer lent         # while there is a lender: what the driver's borrow() gave
    cdef object lender

    cdef object stream
    cdef int descriptor         # -1: the stream is read by its readinto()
    cdef int64_t stream_at
    cdef int64_t stream_left    # -1: the stream did not say how long it is
    cdef set side               # streams of positional reads in flight

    cdef bint busy
    cdef bint is_closed
    cdef unsigned long owner
    cdef int users
    cdef int forked
    cdef list waiting           # locks of those that wait for the cursor

    cdef Py_ssize_t limit       # most bytes of a fill
    cdef Py_ssize_t fill        # bytes of the last fill; 0 after a lone read
    cdef int64_t miss_from      # what the last miss brought
    cdef int64_t miss_to
    cdef int64_t run            # bytes that were brought one behind the other
    cdef int64_t credit

    cdef int64_t requests
    cdef int64_t fetched
    cdef int64_t wasted
    cdef int64_t connections

    cdef int64_t total          # -1: unknown
    cdef bint missing_is_eof
    cdef object buffer_size
    cdef object borrow
    cdef object fill_at
    cdef object __weakref__

    cdef readonly object driver
    cdef readonly str path
    #: BlobInfo: what the store said at creation
    cdef readonly object info

    def __cinit__(self, driver, path, *, info=None, missing="raise", buffer_size="auto"):
        self.end = -1
        self.is_closed = True       # until it is whole: a failed creation leaves nothing to close
        self.descriptor = -1
        self.stream_left = -1
        self.forked = forks
        self.credit = CREDIT
        if missing not in ("raise", "eof"):
            raise ValueError(f"missing must be 'raise' or 'eof', not {missing!r}")
        self.driver = driver
        self.path = path
        self.missing_is_eof = missing == "eof"
        self.buffer_size = buffer_size
        self.limit = self._limit()
        self.borrow = getattr(driver, "borrow", None)
        self.fill_at = getattr(driver, "readinto_at", None)
        stream = None
        if info is None:
            try:
                if hasattr(driver, "open"):
                    info, stream = driver.open(path)
                else:
                    info = driver.stat(path)
            except PathNotFoundError:
                if not self.missing_is_eof:
                    raise
                info = BlobInfo(path, 0)
        try:
            if info.is_dir:
                raise BlobIsDirectoryError("is a directory", driver=driver.name, path=self.shown())
            self.total = -1 if info.size is None else as_offset(info.size)
            if info.size is not None and self.total < 0:
                raise ValueError(f"the size of a blob cannot be negative: {info.size}")
        except BaseException:
            if stream is not None:
                stream.close()
            raise
        self.info = info
        self.end = 0
        self.is_closed = False
        if stream is not None:
            self.requests = 1
            if self.borrow is None:
                self.adopt(stream, 0, -1)
            else:
                stream.close()      # the engine keeps the first bytes itself

    cdef Py_ssize_t _limit(self) except -1:
        size = self.buffer_size
        if isinstance(size, str):
            if size != "auto":
                raise ValueError(f"buffer_size must be a number of bytes or 'auto', not {size!r}")
            size = getattr(self.driver, "buffer_size", BUFFER)
        size = PyNumber_Index(size)
        if size < 1:
            raise ValueError(f"buffer_size must be at least 1 byte, not {size}")
        return min(size, 1 << 30)

    # ---- state: who is in, who is last out -------------------------------------------------------------------

    cdef int enter(self) except -1:
        """Take the cursor: wait for it, look whether the reader is open, and go behind the buffer's hits."""
        if self.forked != forks:
            self.after_fork()
        while self.busy:
            self.wait()
        if self.end < 0:
            self.wake()
            raise ValueError("I/O operation on closed file.")
        self.busy = True
        self.owner = PyThread_get_thread_ident()
        self.users += 1
        self.note_seen()
        self.end -= self.have
        self.have = 0
        return 0

    cdef int leave(self) except -1:
        self.busy = False
        if self.end >= 0:
            self.place(self.end)
        self.wake()
        return self.count_out()

    cdef int count_out(self) except -1:
        self.users -= 1
        if self.is_closed and self.users == 0:
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
        """In a child: other threads are gone, and what they held with them; a descriptor is shared safely."""
        self.forked = forks
        self.busy = False
        self.users = 0
        self.waiting = None
        self.side = None
        if self.descriptor < 0:
            self.drop_stream()
        return 0

    cdef int place(self, int64_t target) noexcept:
        """Set the position; what the buffer holds from there on can be hit."""
        cdef int64_t ahead = target - self.base_at
        if 0 <= ahead < self.filled:
            self.cursor = self.base + ahead
            self.have = self.filled - ahead
            self.end = self.base_at + self.filled
            if target < self.seen_from:
                self.seen_from = target
        else:
            self.have = 0
            self.end = target
        return 0

    cdef int note_seen(self) noexcept:
        """Before the position moves away: what lies before it in the buffer was handed out."""
        cdef int64_t position = self.end - self.have
        if self.seen_to < position <= self.base_at + self.filled:
            self.seen_to = position
        return 0

    cdef int drop(self) except -1:
        """Free all that the reader holds."""
        self.drop_buffer()
        self.memory = None
        self.base = NULL
        self.drop_stream()
        return 0

    cdef int drop_buffer(self) except -1:
        if self.filled and self.seen_to >= self.seen_from:
            self.wasted += self.filled - (self.seen_to - self.seen_from)
        self.filled = 0
        if self.lender is not None:
            PyBuffer_Release(&self.lent)
            lender, self.lender = self.lender, None
            lender.release()
        return 0

    cdef int drop_stream(self) except -1:
        stream, self.stream = self.stream, None
        self.descriptor = -1
        self.stream_left = -1
        if stream is not None:
            try:
                stream.close()
            except Exception as exc:
                # The bytes are delivered or an error is on its way already: this one must not hide it.
                warnings.warn(f"closing a stream of {self.shown()!r} failed: {exc}", RuntimeWarning, stacklevel=2)
        return 0

    cdef str shown(self):
        """The path as it may be printed: a signed URL has secrets in its query."""
        redact = getattr(self.driver, "redact", None)
        return self.path if redact is None else redact(self.path)

    # ---- bytes from the driver -------------------------------------------------------------------------------

    cdef object ask(self, int64_t at, int64_t least):
        """Open a stream of the pinned version at `at` for at least `least` bytes, and look of what kind it is.

        Gives False where the blob is missing, and this is to be read as its end.
        """
        cdef int64_t reach = -1
        if self.total < 0:
            if at > 0:
                raise io.UnsupportedOperation("the size of this blob is unknown: it can only be read on, once")
        else:
            # Reads that run on ask for as much again as they have had: few requests, and little too much.
            reach = least if at != self.miss_to else max(least, 2 * self.run)
            reach = min(reach, self.total - at)
        self.requests += 1
        try:
            stream = self.driver.read_stream(self.path, at, None if reach < 0 else reach, pin=self.info)
        except PathNotFoundError:
            if not self.missing_is_eof:
                raise
            return False
        if self.stream is not None:
            stream.close()      # a positional read of another thread has brought the file's descriptor meanwhile
            return True
        self.adopt(stream, at, reach)
        return True

    cdef int adopt(self, object stream, int64_t at, int64_t length) except -1:
        self.stream = stream
        self.stream_at = at
        self.stream_left = length
        descriptor = getattr(stream, "descriptor", None)
        self.descriptor = -1 if descriptor is None else descriptor
        if getattr(stream, "new_connection", False):
            self.connections += 1
        return 0

    cdef bint ready(self, int64_t at, int64_t least) except -1:
        """Have something to ask for bytes; False where a missing blob is to be read as its end."""
        return self.fill_at is not None or self.borrow is not None or self.stream is not None or self.ask(at, least)

    cdef Py_ssize_t pread(self, char *to, Py_ssize_t count, int64_t at) except -1:
        """Fill all of `to` from the descriptor."""
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t piece
        cdef long long got
        cdef int fd = self.descriptor
        while True:
            piece = min(count - done, PIECE)
            with nogil:
                got = blobread_pread(fd, to + done, piece, at + done)
            self.requests += 1
            if got > 0:
                done += got
                self.fetched += got
                if done == count:
                    return done
            elif got == 0:
                raise BlobChangedError(
                    f"ends at {at + done} bytes now, and had {self.total} when it was opened",
                    driver=self.driver.name, path=self.shown(),
                )
            elif got != -EINTR:
                raise BlobError(os.strerror(-got), driver=self.driver.name, path=self.shown(), errno=-got)
            PyErr_CheckSignals()
            self.check_open()

    cdef Py_ssize_t receive(self, object stream, object owner, Py_ssize_t start, Py_ssize_t stop) except -1:
        """One readinto() of a stream into the bytes [start, stop) of `owner`."""
        view = window(owner, start, stop)
        try:
            got = checked(stream.readinto(view), stop - start, "readinto()")
        except Exception:
            self.check_open()       # close() in another thread is what ended it
            raise
        finally:
            view.release()
        self.check_open()
        self.fetched += got
        return got

    cdef Py_ssize_t advance(self, object owner, Py_ssize_t start, Py_ssize_t stop) except -1:
        """One read of the cursor's own stream, which is dropped when it fails or is used up."""
        cdef Py_ssize_t got
        if 0 < self.stream_left < stop - start:
            stop = start + self.stream_left
        try:
            got = self.receive(self.stream, owner, start, stop)
        except BaseException:
            self.drop_stream()
            raise
        self.stream_at += got
        if self.stream_left > 0:
            self.stream_left -= got
            if self.stream_left == 0:
                self.drop_stream()
        return got

    cdef Py_ssize_t stream_into(
        self, object owner, Py_ssize_t start, Py_ssize_t stop, int64_t at, int64_t least
    ) except -1:
        """One read of a stream that is at `at`, into the bytes [start, stop) of `owner`; 0 is the end of the blob."""
        cdef Py_ssize_t got
        cdef bint fresh = False
        while True:
            if not self.at_hand(at):
                self.drop_stream()
                if not self.ask(at, least):
                    return 0
                fresh = True
            if self.total >= 0 and self.total - at < stop - start:
                stop = start + (self.total - at)
            got = self.advance(owner, start, stop)
            if got:
                return got
            if self.total < 0:
                # It was the only stream of a blob whose size was unknown: now it is known.
                self.drop_stream()
                self.total = at
                return 0
            if fresh or self.stream_left > 0:
                self.drop_stream()
                raise TruncatedBlobError(
                    f"the stream ended at offset {at} of {self.total}", driver=self.driver.name, path=self.shown()
                )
            # What came when the blob was opened is used up; such a stream does not say how long it is.
            self.drop_stream()

    cdef bint at_hand(self, int64_t at) except -1:
        """Whether the stream is at `at`, or so near before it that reading on brought it there."""
        cdef Py_ssize_t got
        cdef int64_t skip
        if self.stream is None:
            return False
        skip = at - self.stream_at
        if skip < 0 or (skip > SKIP and self.total >= 0) or 0 < self.stream_left <= skip:
            return False
        if skip == 0:
            return True
        scratch = PyByteArray_FromStringAndSize(NULL, min(skip, SKIP))
        while self.stream_at < at:
            got = self.advance(scratch, 0, min(at - self.stream_at, len(scratch)))
            if got == 0:
                if self.total < 0:
                    self.drop_stream()
                    self.total = self.stream_at
                return False
            self.wasted += got
            PyErr_CheckSignals()
        return True

    cdef Py_ssize_t engine_into(self, object owner, Py_ssize_t start, Py_ssize_t stop, int64_t at) except -1:
        """Have the engine fill the bytes [start, stop) of `owner`."""
        view = window(owner, start, stop)
        self.requests += 1
        try:
            got = checked(self.fill_at(self.path, view, at, self.info), stop - start, "readinto_at()")
        except Exception:
            self.check_open()
            raise
        finally:
            view.release()
        self.check_open()
        self.fetched += got
        if got != stop - start:
            raise TruncatedBlobError(
                f"readinto_at() filled {got} of {stop - start} bytes at offset {at}",
                driver=self.driver.name, path=self.shown(),
            )
        return got

    cdef Py_ssize_t past_buffer(
        self, char *to, object owner, Py_ssize_t start, Py_ssize_t stop, int64_t at, bint once
    ) except -1:
        """Fill the bytes [start, stop) of `owner`, which lie at `to`, straight from the driver; less at the end."""
        cdef Py_ssize_t done = start
        cdef Py_ssize_t got
        if self.fill_at is not None:
            return self.engine_into(owner, start, stop, at)
        if self.descriptor >= 0:
            return self.pread(to, stop - start, at)
        while done < stop:
            got = self.stream_into(owner, done, stop, at + done - start, stop - done)
            done += got
            if got == 0 or once:
                break
            PyErr_CheckSignals()
        return done - start

    # ---- the buffer ------------------------------------------------------------------------------------------

    cdef Py_ssize_t plan(self, int64_t at, Py_ssize_t count, bint buffered, int64_t *start) noexcept:
        """How many bytes a miss at `at` shall bring into the buffer, and from where on; 0: none, read past it.

        Reads that run on double the fill. So do reads that cluster, but these may be about to go elsewhere: a local
        fill is paid from a credit that hits earn, as a hit saves about the time in which a page is copied. A lone
        read brings what was asked for: a pread of 64 bytes costs less than any fill.
        """
        cdef bint local = self.descriptor >= 0
        cdef bint forward = at >= self.miss_to
        cdef int64_t apart = at - self.miss_to if forward else self.miss_from - at
        cdef Py_ssize_t size = 0
        if not buffered and (count >= DIRECT or count >= self.limit or (local and count >= LOCAL_DIRECT)):
            return 0
        self.credit = min(self.credit + self.hits * PAGE + 64, CREDIT)
        self.hits = 0
        start[0] = at
        if at == self.miss_to:
            size = max(2 * self.fill, 2 * (PAGE if local else BLOCK))
        elif apart <= NEAR and self.total >= 0:
            size = min(max(2 * self.fill, PAGE if local else 2 * BLOCK), self.limit)
            if local and self.credit < size:
                size = 0
            else:
                if local:
                    self.credit -= size
                # A cluster has bytes on both sides of the read; more of them ahead if it moves ahead.
                start[0] = max(0, at - (size // 4 if forward else size // 2)) // PAGE * PAGE
        elif not local:
            size = 2 * BLOCK
            start[0] = at // BLOCK * BLOCK
        self.fill = min(size, self.limit)
        if size == 0 and buffered:
            size = max(count, PAGE)
        size = min(size, self.limit)
        if size and (start[0] + size < at + count or self.total < 0):
            start[0] = at
        return size

    cdef Py_ssize_t refill(self, int64_t at, int64_t start, Py_ssize_t size) except -1:
        """Bring the bytes [start, start + size) into the buffer, or as many as one read gives, but some from `at` on.

        Gives how many there are from `at` on; 0 is the end of the blob.
        """
        cdef Py_ssize_t got = 0
        cdef Py_ssize_t more
        if self.descriptor < 0 and self.stream is not None and start < self.stream_at <= at:
            start = self.stream_at
        if self.total >= 0:
            size = min(size, self.total - start)
        self.drop_buffer()
        if self.memory is None or len(self.memory) < size:
            self.memory = PyByteArray_FromStringAndSize(NULL, size)
        self.base = PyByteArray_AS_STRING(self.memory)
        if self.descriptor >= 0:
            got = self.pread(self.base, size, start)
        elif self.fill_at is not None:
            got = self.engine_into(self.memory, 0, size, start)
        else:
            while got <= at - start:
                more = self.stream_into(self.memory, got, size, start + got, size - got)
                if more == 0:
                    break
                got += more
        self.base_at = start
        self.filled = got
        self.seen_from = self.seen_to = at
        self.note_miss(start, got)
        return max(0, start + got - at)

    cdef Py_ssize_t refill_borrowed(self, int64_t at) except -1:
        """Hold what the engine has read ahead as the buffer."""
        self.drop_buffer()
        self.requests += 1
        lender = self.borrow(self.path, at, self.info)
        try:
            self.check_open()
            PyObject_GetBuffer(lender, &self.lent, PyBUF_SIMPLE)
        except BaseException:
            lender.release()
            raise
        self.lender = lender
        if self.lent.len == 0:
            self.drop_buffer()
            raise TruncatedBlobError(
                f"borrow() gave nothing at offset {at} of {self.total}", driver=self.driver.name, path=self.shown()
            )
        self.base = <char *>self.lent.buf
        self.base_at = at
        self.filled = self.clamp(at, self.lent.len)
        self.seen_from = self.seen_to = at
        self.fetched += self.filled
        return self.filled

    cdef int note_miss(self, int64_t start, Py_ssize_t got) noexcept:
        self.run = self.run + got if start == self.miss_to else got
        self.miss_from = start
        self.miss_to = start + got
        return 0

    cdef Py_ssize_t fill_buffer(self, int64_t at) except -1:
        """Have bytes from `at` on in the buffer; gives how many, 0 is the end of the blob."""
        cdef int64_t start
        cdef Py_ssize_t size
        if not self.clamp(at, 1) or not self.ready(at, 2 * BLOCK):
            return 0
        if self.borrow is not None:
            return self.refill_borrowed(at)
        size = self.plan(at, 1, True, &start)
        return self.refill(at, start, size)

    cdef Py_ssize_t copy_out(self, char *to, Py_ssize_t count, int64_t at) noexcept:
        """Copy what the buffer holds from `at` on, at most `count` bytes; gives how many."""
        cdef int64_t ahead = at - self.base_at
        if ahead < 0 or ahead >= self.filled:
            return 0
        count = min(count, self.filled - ahead)
        memcpy(to, self.base + ahead, count)
        return count

    cdef Py_ssize_t bring(self, char *to, Py_ssize_t count, int64_t at, object owner, bint once) except -1:
        """Fill the first `count` bytes of `owner`, which lie at `to`, from `at` on; less only at the end.

        With `once` at most one read of the driver is made, and what it gives is enough.
        """
        cdef Py_ssize_t done = self.copy_out(to, count, at)
        cdef Py_ssize_t got, size
        cdef int64_t here, start
        if once and done:
            return done
        while done < count:
            here = at + done
            if not self.ready(here, count - done):
                break
            if self.borrow is not None and (count - done < DIRECT or self.fill_at is None):
                got = self.refill_borrowed(here)
            else:
                size = self.plan(here, count - done, False, &start)
                if size == 0:
                    got = self.past_buffer(to + done, owner, done, count, here, once)
                    self.note_miss(here, got)
                    return done + got
                got = self.refill(here, start, size)
            if got == 0:
                break
            done += self.copy_out(to + done, count - done, here)
            if once:
                break
        return done

    cdef Py_ssize_t clamp(self, int64_t at, Py_ssize_t count) noexcept:
        """How many of `count` bytes (-1: of all) the blob has from `at` on."""
        if self.total < 0:
            return count
        if at >= self.total:
            return 0
        if count < 0 or count > self.total - at:
            return self.total - at
        return count

    # ---- reads at the cursor ---------------------------------------------------------------------------------

    cdef object take(self, Py_ssize_t count):
        """The next `count` bytes, which the buffer holds."""
        out = PyBytes_FromStringAndSize(self.cursor, count)
        self.cursor += count
        self.have -= count
        self.delivered += count
        self.hits += 1
        return out

    cdef object read_through(self, Py_ssize_t count, bint once):
        """read() and read1() where the buffer does not hold all of it."""
        cdef Py_ssize_t got
        cdef int64_t at
        self.enter()
        try:
            at = self.end
            if count < 0 and self.total < 0:
                out = self.read_unknown(at)
                got = len(out)
            else:
                count = self.clamp(at, count)
                if count <= 0:
                    return b""
                out = PyBytes_FromStringAndSize(NULL, count)
                got = self.bring(PyBytes_AS_STRING(out), count, at, out, once)
                if got < count:
                    out = out[:got]
            self.end = at + got
            self.delivered += got
            return out
        finally:
            self.leave()

    cdef bytes read_unknown(self, int64_t at):
        """All from `at` on, of a blob whose size is known only when its stream ends."""
        cdef Py_ssize_t got, done = 0
        parts = []
        while True:
            part = PyByteArray_FromStringAndSize(NULL, DIRECT)
            got = self.bring(PyByteArray_AS_STRING(part), DIRECT, at + done, part, True)
            if got == 0:
                return b"".join(parts)
            done += got
            parts.append(part if got == DIRECT else part[:got])

    cdef Py_ssize_t readinto_through(self, Py_buffer *view, object owner, bint once) except -1:
        """readinto() and readinto1() where the buffer does not hold all of it."""
        cdef Py_ssize_t got
        cdef int64_t at
        self.enter()
        try:
            at = self.end
            got = self.clamp(at, view.len)
            if got:
                got = self.bring(<char *>view.buf, got, at, owner, once)
            self.end = at + got
            self.delivered += got
            return got
        finally:
            self.leave()

    cdef object line_through(self, Py_ssize_t most):
        """readline() where the buffer does not hold all of the line."""
        cdef Py_ssize_t count
        cdef int64_t at
        cdef const char *line
        cdef const char *stop = NULL
        parts = []
        self.enter()
        try:
            at = self.end
            while most and stop is NULL:
                if not self.base_at <= at < self.base_at + self.filled and self.fill_buffer(at) == 0:
                    break
                line = self.base + (at - self.base_at)
                count = self.base_at + self.filled - at
                if 0 <= most < count:
                    count = most
                stop = <const char *>memchr(line, c"\n", count)
                if stop is not NULL:
                    count = stop - line + 1
                parts.append(PyBytes_FromStringAndSize(line, count))
                at += count
                if most > 0:
                    most -= count
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
        return self.read_through(count, False)

    @cython.binding(False)
    def read1(self, size=-1, /):
        """Read 1 to `size` bytes by at most one read of the store; ``b""`` only at the end."""
        cdef Py_ssize_t count = as_length(size)
        if count < 0:
            count = self.have if self.have > 0 else self.limit
        elif count > self.have > 0:
            count = self.have
        if 0 < count <= self.have:
            return self.take(count)
        return self.read_through(count, True)

    @cython.binding(False)
    def readinto(self, buffer, /):
        """Fill `buffer`, of any item type and shape; give the number of bytes, fewer only at the end of the blob.

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
        if not PyObject_CheckBuffer(buffer):
            buffer = tensor_view(buffer)
        take_buffer(buffer, &view)
        count = view.len
        if 0 < count <= self.have:
            memcpy(view.buf, self.cursor, count)
            self.cursor += count
            self.have -= count
            self.delivered += count
            self.hits += 1
            PyBuffer_Release(&view)
            return count
        try:
            return self.readinto_through(&view, buffer, False)
        finally:
            PyBuffer_Release(&view)

    def readinto1(self, buffer, /):
        """Like `readinto`, by at most one read of the store: 1 byte or more, 0 only at the end."""
        cdef Py_buffer view
        if not PyObject_CheckBuffer(buffer):
            buffer = tensor_view(buffer)
        take_buffer(buffer, &view)
        try:
            return self.readinto_through(&view, buffer, True)
        finally:
            PyBuffer_Release(&view)

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
        return self.line_through(as_length(size))

    def readlines(self, hint=-1, /):
        """Read the lines that are left, or as many as `hint` bytes take."""
        cdef int64_t left = -1 if hint is None else hint
        cdef list lines = []
        for line in self:
            lines.append(line)
            if left > 0:
                left -= len(line)
                if left <= 0:
                    break
        return lines

    def __iter__(self):
        self.check_open()
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
        """Give bytes from the position on without moving it: at least one, unless at the end of the blob."""
        as_length(size)
        if self.have == 0:
            self.enter()
            try:
                self.fill_buffer(self.end)
            finally:
                self.leave()
        return PyBytes_FromStringAndSize(self.cursor, self.have)

    # ---- the position ----------------------------------------------------------------------------------------

    @cython.binding(False)
    def tell(self):
        """The position in bytes."""
        if self.end < 0:
            self.check_open()
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
        if whence is not ZERO:
            target = self.from_whence(target, PyNumber_Index(whence))
        if target < 0:
            self.check_open()
            raise ValueError(f"negative seek position {target}")
        if self.busy or self.end < 0 or self.total < 0:
            self.seek_through(target)
            return target
        self.note_seen()
        self.place(target)
        return target

    cdef int64_t from_whence(self, int64_t offset, object whence) except? -1:
        cdef int64_t origin
        self.check_open()
        if whence == 0:
            return offset
        if whence == 1:
            origin = self.end - self.have
        elif whence == 2:
            if self.total < 0:
                raise io.UnsupportedOperation("the size of this blob is unknown: it has no end to seek from")
            origin = self.total
        else:
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if offset > INT64_MAX - origin:
            raise OverflowError("an offset must lie between -2**63 and 2**63 - 1")
        if origin + offset < 0:
            raise ValueError(f"negative seek position {origin + offset}")
        return origin + offset

    cdef int seek_through(self, int64_t target) except -1:
        """seek() where another thread is at the cursor, or the size is unknown."""
        self.enter()
        try:
            if self.total < 0 and not self.base_at <= target <= self.base_at + self.filled:
                if target < (self.miss_to if self.stream is None else self.stream_at):
                    raise io.UnsupportedOperation("the size of this blob is unknown: it can only be read on, once")
            self.end = target
        finally:
            self.leave()
        return 0

    # ---- reads at an offset ----------------------------------------------------------------------------------

    def read_at(self, size, offset, /):
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
            count = self.clamp(at, count)
            if count == 0:
                return b""
            out = PyBytes_FromStringAndSize(NULL, count)
            got = self.bring_at(PyBytes_AS_STRING(out), count, at, out)
            return out if got == count else out[:got]
        finally:
            self.count_out()

    def readinto_at(self, buffer, offset, /):
        """Fill `buffer` from `offset` on; give the number of bytes, fewer only at the end of the blob.

        As `read_at`, straight into the caller's memory.
        """
        cdef int64_t at = as_offset(offset)
        cdef Py_ssize_t count
        cdef Py_buffer view
        if not PyObject_CheckBuffer(buffer):
            buffer = tensor_view(buffer)
        take_buffer(buffer, &view)
        try:
            self.enter_at(at)
            try:
                count = self.clamp(at, view.len)
                return self.bring_at(<char *>view.buf, count, at, buffer) if count else 0
            finally:
                self.count_out()
        finally:
            PyBuffer_Release(&view)

    cdef int enter_at(self, int64_t at) except -1:
        self.check_open()
        if at < 0:
            raise ValueError(f"negative offset {at}")
        if self.total < 0:
            raise io.UnsupportedOperation("the size of this blob is unknown: it can only be read on, once")
        if self.forked != forks:
            self.after_fork()
        self.users += 1
        return 0

    cdef Py_ssize_t bring_at(self, char *to, Py_ssize_t count, int64_t at, object owner) except -1:
        cdef Py_ssize_t done = 0
        if self.base_at <= at and at + count <= self.base_at + self.filled:
            done = self.copy_out(to, count, at)
        elif self.fill_at is not None:
            done = self.engine_into(owner, 0, count, at)
        elif self.descriptor >= 0:
            done = self.pread(to, count, at)
        else:
            done = self.stream_at_once(to, count, at, owner)
        self.delivered += done
        return done

    cdef Py_ssize_t stream_at_once(self, char *to, Py_ssize_t count, int64_t at, object owner) except -1:
        """Fill `owner` by a stream of its own."""
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t got
        self.requests += 1
        try:
            stream = self.driver.read_stream(self.path, at, count, pin=self.info)
        except PathNotFoundError:
            if not self.missing_is_eof:
                raise
            return 0
        if getattr(stream, "new_connection", False):
            self.connections += 1
        if getattr(stream, "descriptor", None) is not None and self.stream is None and not self.is_closed:
            self.adopt(stream, at, -1)
            return self.pread(to, count, at)
        if self.side is None:
            self.side = set()
        side = self.side
        side.add(stream)
        try:
            self.check_open()
            while done < count:
                got = self.receive(stream, owner, done, count)
                if got == 0:
                    raise TruncatedBlobError(
                        f"the stream ended at offset {at + done} of {self.total}",
                        driver=self.driver.name, path=self.shown(),
                    )
                done += got
                PyErr_CheckSignals()
            return done
        finally:
            side.discard(stream)
            stream.close()

    # ---- the rest of a binary file ---------------------------------------------------------------------------

    cdef int check_open(self) except -1:
        if self.is_closed:
            raise ValueError("I/O operation on closed file.")
        return 0

    def close(self):
        """Free what the reader holds, at once; calls that are under way in other threads raise `ValueError`."""
        if self.is_closed:
            return
        if self.forked != forks:
            self.after_fork()
        self.note_seen()
        self.is_closed = True
        self.have = 0
        self.end = -1
        if self.users == 0:
            self.drop()
            return
        # The last one out drops all. A descriptor must live until then; a stream is told, and wakes its reader.
        if self.stream is not None and self.descriptor < 0:
            self.stream.close()
        for stream in list(self.side or ()):
            stream.close()

    @property
    def closed(self):
        """Whether `close` was called."""
        return self.is_closed

    def __enter__(self):
        self.check_open()
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        if self.is_closed:
            return
        if self.stream is not None or self.lender is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        self.close()

    def readable(self):
        """True, while it is open."""
        self.check_open()
        return True

    def writable(self):
        """False: blobs are read."""
        self.check_open()
        return False

    def seekable(self):
        """Whether the size is known; else the blob can only be read on."""
        self.check_open()
        return self.total >= 0

    def isatty(self):
        """False."""
        self.check_open()
        return False

    def flush(self):
        """Do nothing: there is nothing to write."""
        self.check_open()

    def fileno(self):
        """Raise `io.UnsupportedOperation`: no descriptor stands for a blob's bytes."""
        self.check_open()
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
        return self.shown()

    @property
    def size(self):
        """In bytes; None while it is unknown."""
        return None if self.total < 0 else self.total

    @property
    def verified(self):
        """Whether all bytes were read in order, and the digest was right."""
        return bool(getattr(self.driver, "verified", False))

    @property
    def stats(self):
        """`ReaderStats` up to now."""
        return ReaderStats(
            self.requests, self.fetched, self.delivered, self.wasted, self.requests, 0, self.connections
        )

    def __repr__(self):
        state = "closed" if self.is_closed else f"size={self.size}"
        return f"<blobread.BlobReader {self.driver.name}:{self.shown()!r} {state}>"

    def __reduce__(self):
        self.check_open()
        missing = "eof" if self.missing_is_eof else "raise"
        position = self.end - self.have
        return _reopen, (self.driver, self.path, self.info, missing, self.buffer_size, position)

    def __dask_tokenize__(self):
        return f"{self.driver.name}:{self.path}", self.info.version, self.size


def _reopen(driver, path, info, missing, buffer_size, position):
    """What a pickled reader becomes: it opens its stream at the first read."""
    reader = BlobReader(driver, path, info=info, missing=missing, buffer_size=buffer_size)
    (<BlobReader>reader).end = position
    return reader


io.BufferedIOBase.register(BlobReader)
