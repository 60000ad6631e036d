"""Where a reader's bytes come from: a descriptor, a stream, or an engine; whatever its driver has.

It is handed a driver and asks it for bytes; it knows no store, no network and no threads of its
own. Its cursor's stream is used by one call at a time (the reader sees to that); positional reads
have streams of their own.
"""

from cpython.buffer cimport PyBuffer_FillInfo, PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR
from libc.stdint cimport int64_t
from libc.string cimport memcpy

import io
import os
import warnings
from dataclasses import replace

from .driver import BlobInfo
from .errors import (
    BlobChangedError,
    BlobError,
    PathNotFoundError,
    ProtocolError,
    TruncatedBlobError,
)

cdef extern from "_pread.h":
    long long blobread_pread(int fd, void *to, size_t count, long long offset) nogil

cdef extern from "Python.h":
    char *PyByteArray_AS_STRING(object array)
    object PyByteArray_FromStringAndSize(const char *data, Py_ssize_t size)
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1

cdef Py_ssize_t PIECE = 64 << 20    # of one pread: the longest that a signal waits
cdef Py_ssize_t POOL = 1 << 20      # of memory for a stream that may be late
cdef Py_ssize_t SKIP = 256 << 10    # so far ahead, reading on is cheaper than a new request

cdef str READ_ONCE = "the size of this blob is unknown: it can only be read on, once"


@cython.final
@cython.no_gc_clear     # the collector would drop what is taken without releasing it
cdef class _Target:
    """Memory as plain bytes, for a stream to fill.

    A view of it that a stream keeps holds the memory alive: it can be late, but never write into
    freed memory.
    """

    cdef object keeper          # a bytes object in the making, or a bytearray of ours; or None:
    cdef Py_buffer taken        # the caller's memory, taken once, as two exports may differ
    cdef char *to
    cdef Py_ssize_t size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.to, self.size, 0, flags)

    def __dealloc__(self):
        PyBuffer_Release(&self.taken)


cdef _Target target_of_caller(Py_buffer *view):
    """Take over what was taken from the caller."""
    cdef _Target target
    try:
        target = _Target.__new__(_Target)
    except MemoryError:
        PyBuffer_Release(view)
        raise
    target.taken = view[0]
    target.to = <char *>view.buf
    target.size = view.len
    return target


cdef _Target target_of_bytes(bytes out):
    cdef _Target target = _Target.__new__(_Target)
    target.keeper = out
    target.to = PyBytes_AS_STRING(out)
    target.size = len(out)
    return target


cdef _Target target_of_size(Py_ssize_t size):
    cdef _Target target = _Target.__new__(_Target)
    target.keeper = PyByteArray_FromStringAndSize(NULL, size)
    target.to = PyByteArray_AS_STRING(target.keeper)
    target.size = size
    return target


cdef object window(object owner, Py_ssize_t start, Py_ssize_t stop):
    """A view of the bytes [start, stop) of a target or a bytes object, to be released after use."""
    whole = memoryview(target_of_bytes(owner) if type(owner) is bytes else owner)
    if start == 0 and stop == whole.nbytes:
        return whole
    part = whole[start:stop]
    whole.release()
    return part


cdef char *start_of(object owner) noexcept:
    return PyBytes_AS_STRING(owner) if type(owner) is bytes else (<_Target>owner).to


cdef Py_ssize_t checked(object got, Py_ssize_t most, str what) except -1:
    """No length that Python code returns is believed."""
    cdef int overflow = 0
    cdef long long count
    if not isinstance(got, int):
        raise ProtocolError(f"{what} returned {type(got).__name__}, which is no length")
    # Compared in C: an int's own class may compare as it likes.
    count = PyLong_AsLongLongAndOverflow(got, &overflow)
    if overflow or not 0 <= count <= most:
        raise ProtocolError(
            f"{what} returned invalid length {got!r} (should have been between 0 and {most})"
        )
    return count


cdef int descriptor_of(object stream) except? -1:
    """What a stream may be read by at positions; -1: it has no descriptor."""
    descriptor = getattr(stream, "descriptor", None)
    return -1 if descriptor is None else descriptor


@cython.final
cdef class _Source:
    """A blob of a driver, at the version of its creation; see `BlobReader` for the parameters."""

    cdef readonly object driver
    cdef readonly str path
    cdef readonly object info

    cdef int64_t total          # size in bytes; -1: unknown until the end was read
    cdef bint closed
    cdef bint missing_is_eof

    cdef object borrow          # the engine's methods, or None
    cdef object fill_at
    cdef object stop
    cdef object part            # the driver's method, or None

    cdef object stream          # the one that the cursor reads on
    cdef int descriptor         # of that stream; -1: it is read by its readinto()
    cdef int64_t stream_at
    cdef int64_t stream_left    # -1: it did not say how long it is
    cdef dict side              # streams of positional reads that are under way, by id()

    cdef int64_t run_to         # where the bytes end that the cursor asked for last
    cdef int64_t run            # and how many came one behind the other

    cdef int64_t requests
    cdef int64_t fetched
    cdef int64_t wasted
    cdef int64_t connections
    cdef int64_t stalls

    def __cinit__(self, driver, path, info, bint missing_is_eof):
        if not isinstance(path, str):
            raise TypeError(f"path must be a str, not {type(path).__name__}")
        self.closed = True      # until the reader is made
        self.driver = driver
        self.path = str.__str__(path)
        self.info = info
        self.missing_is_eof = missing_is_eof
        self.total = -1
        self.descriptor = -1
        self.stream_left = -1
        self.stop = getattr(driver, "stop", None)
        self.part = getattr(driver, "part", None)
        self.look_up()

    cdef int look_up(self) except -1:
        """See what the driver can do for the blob."""
        self.borrow = getattr(self.driver, "borrow", None)
        self.fill_at = getattr(self.driver, "readinto_at", None)
        return 0

    cdef object open_first(self):
        """Ask for the info, and for the first bytes with it where the driver has both in one."""
        stream = None
        try:
            if hasattr(self.driver, "open"):
                self.info, stream = self.driver.open(self.path)
            else:
                self.info = self.driver.stat(self.path)
        except PathNotFoundError:
            if not self.missing_is_eof:
                raise
            self.info = BlobInfo(self.path, 0)
        self.look_up()      # an engine may step aside for a blob of unknown size
        if stream is None:
            return self.info
        self.requests = 1
        if self.borrow is None:
            self.adopt(stream, 0, -1)
        else:
            self.close_quietly(stream)  # the engine keeps the first bytes itself
        return self.info

    # ---- what the buffer and the reader ask of it ------------------------------------------------

    cdef Py_ssize_t clamp(self, int64_t at, Py_ssize_t count) noexcept:
        """How many of `count` bytes (-1: of all) the blob has from `at` on."""
        if self.total < 0:
            return count
        if at >= self.total:
            return 0
        if count < 0 or count > self.total - at:
            return self.total - at
        return count

    cdef bint has_engine(self) noexcept:
        return self.fill_at is not None or self.borrow is not None

    cdef Py_ssize_t fill(
        self, char *to, object owner, Py_ssize_t start, Py_ssize_t stop, int64_t at,
        bint once, bint exact
    ) except -1:
        """Bring bytes from `at` on into [start, stop) of `owner`, which lie at `to`.

        Fewer only at the end. With `once` a single read of a stream is enough; with `exact` none is
        spent on the way to `at`.
        """
        cdef Py_ssize_t done = start
        cdef Py_ssize_t got
        if self.fill_at is not None:
            stop = start + self.clamp(at, stop - start)
            return self.engine_into(owner, start, stop, at) if stop > start else 0
        if self.descriptor >= 0:
            return self.pread(to, stop - start, at)
        while done < stop:
            got = self.stream_into(owner, done, stop, at + done - start, exact)
            done += got
            if got == 0 or once:
                break
            PyErr_CheckSignals()
        return done - start

    cdef object borrowed(self, int64_t at):
        """What the engine has read ahead, from `at` on; None at the end of the blob.

        The end is told by no bytes where the size is unknown, and by a missing blob where that was
        asked for.
        """
        if not self.clamp(at, 1):
            return None         # the end of a blob of unknown size came on the way here
        self.requests += 1
        try:
            part = self.borrow(self.path, at, self.info)
        except PathNotFoundError:
            self.check_open()
            if not self.missing_is_eof:
                raise
            return None
        except Exception:
            self.check_open()
            raise
        if not isinstance(part, memoryview):
            raise self.failure(
                ProtocolError, f"borrow() returned {type(part).__name__}, which is no memoryview"
            )
        if self.closed or part.nbytes == 0:
            part.release()
            self.check_open()
            if self.total < 0:
                self.total = at
                return None
            raise self.failure(
                TruncatedBlobError, f"borrow() gave nothing at offset {at} of {self.total}"
            )
        return part

    cdef int note_run(self, int64_t at, Py_ssize_t got) noexcept:
        """Remember what the cursor was given, to see whether its reads run on."""
        self.run = self.run + got if at == self.run_to else got
        self.run_to = at + got
        return 0

    cdef int check_open(self) except -1:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return 0

    cdef int wake(self) except -1:
        """End what is under way in other threads, once the source is closed.

        A descriptor is not closed here: its number could be another file's before a pread has come
        to its end.
        """
        self.stop_engine()
        if self.stream is not None and self.descriptor < 0:
            self.close_quietly(self.stream)
        if self.side:
            for stream in list(self.side.values()):
                self.close_quietly(stream)
        return 0

    cdef int stop_engine(self) except -1:
        if self.stop is None:
            return 0
        try:
            self.stop()
        except Exception as exc:
            self.warn(f"stopping the reads of {self.shown()!r} failed: {exc!r}")
        return 0

    cdef int drop_stream(self) except -1:
        stream, self.stream = self.stream, None
        self.descriptor = -1
        self.stream_left = -1
        if stream is not None:
            self.close_quietly(stream)
        return 0

    cdef int close_quietly(self, object stream) except -1:
        """Close, and only warn when that fails: bytes or an error are on their way already."""
        try:
            stream.close()
        except Exception as exc:
            self.warn(f"closing a stream of {self.shown()!r} failed: {exc!r}")
        return 0

    cdef int warn(self, str message) except -1:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return 0

    cdef int after_fork(self) except -1:
        """In a child: a connection is the parent's; a descriptor, read at positions, is shared."""
        self.side = None
        if self.descriptor < 0:
            self.drop_stream()
        return 0

    cdef object shown(self):
        """The path as it may be printed: a signed URL has secrets in its query."""
        redact = getattr(self.driver, "redact", None)
        return self.path if redact is None else redact(self.path)

    cdef object failure(self, object kind, str message):
        return kind(message, driver=self.driver.name, path=self.shown())

    # ---- a descriptor ----------------------------------------------------------------------------

    cdef Py_ssize_t pread(self, char *to, Py_ssize_t count, int64_t at) except -1:
        """Fill all of `to`."""
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t piece
        cdef long long got
        cdef int fd = self.descriptor
        if count >= SHARED:
            done = self.pread_shared(to, count, at)
            if done == count:
                return done
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
                raise self.failure(
                    BlobChangedError,
                    f"ends at {at + done} bytes now, and had {self.total} when it was opened",
                )
            elif got != -EINTR:
                raise BlobError(
                    os.strerror(-got), driver=self.driver.name, path=self.shown(), errno=-got
                )
            PyErr_CheckSignals()
            self.check_open()

    cdef Py_ssize_t pread_shared(self, char *to, Py_ssize_t count, int64_t at) except -1:
        """Bring what of a large read can be shared by threads, from its start on."""
        cdef int threads = min(THREADS, cpu_count())
        return read_shared(self, to, count, at, threads) if threads > 1 else 0

    # ---- the stream of the cursor ----------------------------------------------------------------

    cdef bint ask(self, int64_t at, int64_t least) except -1:
        """Open a stream of the pinned version at `at`, for `least` bytes or more.

        Gives False where a missing blob is to be read as its end.
        """
        cdef int64_t length = -1
        if self.total >= 0:
            # Reads that run on ask for twice what they have had: few requests, and little too much.
            length = max(least, 2 * self.run) if at == self.run_to else least
            length = min(length, self.total - at)
        elif at > 0 and self.run_to > 0 and self.info.version is None:
            # Nothing would tell that what is read anew is what the bytes before it were of.
            raise io.UnsupportedOperation(READ_ONCE)
        else:
            at = 0      # and read on from there
        stream = self.opened(at, length)
        if stream is None:
            return False
        if self.closed or self.stream is not None:
            # close(), or a positional read that brought the descriptor, has come between.
            self.close_quietly(stream)
            self.check_open()
            return True
        self.adopt(stream, at, length)
        return True

    cdef object opened(self, int64_t at, int64_t length):
        """A new stream, of the version that is read; None where a missing blob is its end."""
        pin = self.info
        self.requests += 1
        try:
            stream = self.driver.read_stream(self.path, at, None if length < 0 else length, pin=pin)
        except PathNotFoundError:
            if not self.missing_is_eof:
                raise
            return None
        self.meet(stream, pin)
        return stream

    cdef int meet(self, object stream, object pin) except -1:
        """Take note of what a new stream says; it is closed if it is not of the version read."""
        told = getattr(stream, "info", None)
        if pin.version is None and told is not None and told.version is not None:
            # The info was given and says no version: the first stream's is read from now on.
            if self.info.version is None:
                self.info = replace(
                    self.info, version=told.version, etag=told.etag, modified=told.modified
                )
            elif self.info.version != told.version:
                self.close_quietly(stream)
                raise self.failure(
                    BlobChangedError, "was replaced since it was opened; open it again"
                )
        if getattr(stream, "new_connection", False):
            self.connections += 1
        return 0

    cdef int adopt(self, object stream, int64_t at, int64_t length) except -1:
        self.stream = stream
        self.stream_at = at
        self.stream_left = length
        self.descriptor = descriptor_of(stream)
        return 0

    cdef Py_ssize_t receive(
        self, object stream, object owner, Py_ssize_t start, Py_ssize_t stop
    ) except -1:
        """One readinto() of a stream into the bytes [start, stop) of `owner`."""
        cdef _Target pool = None
        cdef Py_ssize_t room = stop - start
        cdef Py_ssize_t got
        if not getattr(stream, "interruptible", True):
            # It may write after close(), when the caller's memory is no longer ours to give.
            room = min(room, POOL)
            pool = target_of_size(room)
        view = window(owner, start, stop) if pool is None else window(pool, 0, room)
        try:
            got = checked(stream.readinto(view), room, "readinto()")
        except Exception:
            self.check_open()       # close() in another thread is what ended it
            raise
        finally:
            view.release()
        self.check_open()
        if pool is not None:
            memcpy(start_of(owner) + start, pool.to, got)
        self.fetched += got
        return got

    cdef Py_ssize_t advance(self, object owner, Py_ssize_t start, Py_ssize_t stop) except -1:
        """One read of the cursor's stream, which is dropped when it fails or is used up."""
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
        self, object owner, Py_ssize_t start, Py_ssize_t stop, int64_t at, bint exact
    ) except -1:
        """One read of a stream from `at` on, into the bytes [start, stop) of `owner`.

        Gives 0 at the end of the blob. With `exact` a stream that would have to be read up to `at`
        first is given up for a new one.
        """
        cdef Py_ssize_t got
        cdef bint fresh = False
        while True:
            if self.descriptor >= 0:
                # It came within this call, and positional reads may be in it already: it stays.
                return self.pread(start_of(owner) + start, self.clamp(at, stop - start), at)
            if not self.at_hand(at, exact):
                if self.total < 0 and at > 0 and self.stream is not None:
                    raise io.UnsupportedOperation(READ_ONCE)    # the stream can be read on yet
                self.drop_stream()
                if self.clamp(at, 1) == 0:
                    return 0        # the end of a blob of unknown size came on the way here
                stop = start + self.clamp(at, stop - start)
                if not self.ask(at, stop - start):
                    return 0
                fresh = True
                continue
            stop = start + self.clamp(at, stop - start)
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
                raise self.failure(
                    TruncatedBlobError, f"the stream ended at offset {at} of {self.total}"
                )
            # What came with the info is used up: such a stream does not say how long it is.
            self.drop_stream()

    cdef bint at_hand(self, int64_t at, bint exact) except -1:
        """Whether the stream is at `at`, or so near before it that reading on brought it there."""
        cdef Py_ssize_t got
        cdef int64_t skip
        if self.stream is None:
            return False
        skip = at - self.stream_at
        if skip == 0:
            return True
        if skip < 0 or 0 < self.stream_left <= skip or (self.total >= 0 and (exact or skip > SKIP)):
            return False
        scratch = target_of_size(min(skip, SKIP))
        while self.stream_at < at:
            got = self.advance(scratch, 0, min(at - self.stream_at, scratch.size))
            if got == 0:
                if self.total < 0:
                    self.total = self.stream_at
                return False
            self.wasted += got
            PyErr_CheckSignals()
        return True

    # ---- the engine ------------------------------------------------------------------------------

    cdef Py_ssize_t engine_into(
        self, object owner, Py_ssize_t start, Py_ssize_t stop, int64_t at
    ) except -1:
        """Have the engine fill the bytes [start, stop) of `owner`; fewer only at the end."""
        cdef Py_ssize_t got
        view = window(owner, start, stop)
        self.requests += 1
        try:
            got = checked(
                self.fill_at(self.path, view, at, self.info), stop - start, "readinto_at()"
            )
        except PathNotFoundError:
            self.check_open()
            if not self.missing_is_eof:
                raise
            return 0
        except Exception:
            self.check_open()
            raise
        finally:
            view.release()
        self.check_open()
        self.fetched += got
        if got != stop - start:
            if self.total < 0:
                self.total = at + got
                return got
            raise self.failure(
                TruncatedBlobError,
                f"readinto_at() filled {got} of {stop - start} bytes at offset {at}",
            )
        return got

    # ---- positional reads ------------------------------------------------------------------------

    cdef Py_ssize_t fill_at_offset(
        self, char *to, Py_ssize_t count, int64_t at, object owner
    ) except -1:
        """Fill the first `count` bytes of `owner`, which lie at `to`; safe from many threads."""
        if self.fill_at is not None:
            return self.engine_into(owner, 0, count, at)
        if self.descriptor >= 0:
            return self.pread(to, count, at)
        if self.part is not None:
            pin = self.info
            self.requests += 1
            return self.drain(self.part(self.path, at, count, pin=pin), count, at, owner, pin)
        stream = self.opened(at, count)
        if stream is None:
            return 0
        if self.stream is None and not self.closed and descriptor_of(stream) >= 0:
            self.adopt(stream, at, -1)
            return self.pread(to, count, at)
        return self.drain(stream, count, at, owner, None)

    cdef Py_ssize_t drain(
        self, object stream, Py_ssize_t count, int64_t at, object owner, object pin
    ) except -1:
        """Read all of a stream of `count` bytes from `at` on, and close it.

        With `pin` it is a part: all that can be known and can fail comes with its first bytes.
        """
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t got
        if self.side is None:
            self.side = {}
        side = self.side
        side[id(stream)] = stream
        try:
            self.check_open()
            while done < count:
                try:
                    got = self.receive(stream, owner, done, count)
                except PathNotFoundError:
                    if pin is None or not self.missing_is_eof:
                        raise
                    return 0
                if pin is not None:
                    self.meet(stream, pin)
                    pin = None
                if got == 0:
                    raise self.failure(
                        TruncatedBlobError,
                        f"the stream ended at offset {at + done} of {self.total}",
                    )
                done += got
                PyErr_CheckSignals()
            return done
        finally:
            del side[id(stream)]
            self.close_quietly(stream)
