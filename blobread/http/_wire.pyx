# cython: language_level=3, auto_pickle=False, autotestdict=False
# cython: embedsignature=True, embedsignature.format=clinic
"""Requests over a plain socket, each in one release of the GIL.

Every release is a handover where threads wait for the GIL: a send, a head and a body that are each
received by a call of their own are three of them, and with many threads cost more than the bytes.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR
from libc.string cimport memcpy

import os

include "_head.pxi"

cdef extern from "_wire.h" nogil:
    bint BLOBREAD_HAS_WIRE
    long long wire_send(int fd, const char *source, size_t count)
    long long wire_peek(int fd)
    long long wire_receive(int fd, char *to, size_t count, bint may_wait)
    long long wire_drop(int fd, char *waste, size_t count)
    int wire_wait(int fd, int milliseconds)
    void wire_prepare(int fd)
    double wire_now()

cdef enum:
    # What comes of a body with its head has to be copied. So little is received until the head
    # is complete that such a copy can be forgotten.
    PIECE = 1024
    WASTE = 256 * 1024
    # So many bytes are worth a release of the GIL: no more are waited for.
    ENOUGH = 256 * 1024

cdef double TURN = 0.02     # seconds: so long a call fills memory, from its first bytes on

HAS_WIRE = bool(BLOBREAD_HAS_WIRE)

# What `ask` and `fetch` return instead of a count.
UNSENT = -1     # before the request was sent there was a close, or there were bytes
UNUSUAL = -2    # what came of the answer is in `piece()`, and is for Python to look at

cdef char waste[WASTE]      # of all connections: nobody reads it

cdef enum Stage:
    PEEK
    SEND
    WAIT
    HEAD
    BODY


@cython.final
cdef class Exchange:
    """One request after another, over a socket that blocks and has timeouts of the system's own.

    It belongs to one thread at a time, and the descriptor stays open while that is in a call.
    Another thread may end the call by shutting the socket down.

    Parameters
    ----------
    descriptor : int

    Attributes
    ----------
    first_byte_after : float
        Seconds from the end of the last request to the first byte of its answer.
    """

    cdef readonly double first_byte_after
    cdef int fd
    cdef int failure            # an errno that is still to be told
    cdef Stage stage
    cdef Py_ssize_t sent
    cdef double sent_at
    cdef Py_ssize_t received    # bytes in `scratch`
    cdef Py_ssize_t done        # bytes in the caller's memory
    cdef char scratch[PIECE]

    def __init__(self, int descriptor):
        self.fd = descriptor
        wire_prepare(descriptor)

    def ask(self, bytes request not None, bint is_used, int patience) -> int:
        """Send a request, and receive the first piece of its answer.

        Parameters
        ----------
        is_used : bool
            Whether there was an answer before, after which something may have come.
        patience : int
            Milliseconds to wait for the piece; -1: as long as the socket's own timeout.

        Returns
        -------
        int
            `UNSENT` or `UNUSUAL`.

        Raises
        ------
        BlockingIOError
            If nothing came in time.
        OSError
        """
        cdef const char *start = request
        cdef Py_ssize_t size = PyBytes_GET_SIZE(request)
        cdef long long got
        self.begin(is_used)
        while True:
            with nogil:
                got = self.converse(start, size, patience)
            if got != -EINTR:
                break
            PyErr_CheckSignals()
        if self.stage == PEEK:
            return UNSENT
        if got < 0:
            raise failed(-got)
        return UNUSUAL

    def fetch(
        self, bytes request not None, bint is_used, tuple wanted not None, Py_ssize_t total, buffer
    ) -> int:
        """Send a request for a range, and receive bytes of it, if the answer is the usual one.

        Parameters
        ----------
        wanted : tuple of bytes
            What the answer has to say: the whole Content-Range; the Content-Length; the name of
            the field that tells the version, in lower case; its value.
        total : int
            The length of the range, in bytes.
        buffer : buffer
            Is filled with its first bytes.

        Returns
        -------
        int
            How many bytes there are, or `UNSENT` or `UNUSUAL`. Of 0 the next `fill` says why.

        Raises
        ------
        BlockingIOError
            If there was no answer in time.
        OSError
            If the connection broke before one.
        """
        cdef bytes content_range, length, field, version
        cdef Wanted expected
        cdef const char *start = request
        cdef Py_ssize_t size = PyBytes_GET_SIZE(request)
        cdef Py_buffer view
        cdef long long got
        content_range, length, field, version = wanted
        expected.range, expected.range_size = content_range, PyBytes_GET_SIZE(content_range)
        expected.length, expected.length_size = length, PyBytes_GET_SIZE(length)
        expected.field, expected.field_size = field, PyBytes_GET_SIZE(field)
        expected.version, expected.version_size = version, PyBytes_GET_SIZE(version)
        self.begin(is_used)
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            while True:
                with nogil:
                    got = self.converse(start, size, -1)
                    if got > 0:
                        got = self.take(&expected, <char *>view.buf, min(view.len, total))
                if got != -EINTR:
                    break
                PyErr_CheckSignals()
        finally:
            PyBuffer_Release(&view)
        if self.stage == BODY:
            return self.done
        if self.stage == PEEK:
            return UNSENT
        if got < 0:
            raise failed(-got)
        return UNUSUAL

    def piece(self) -> bytes:
        """Give what came of the last answer, as it came; nothing: the server hung up."""
        return self.scratch[:self.received]

    def fill(self, buffer, Py_ssize_t count, Py_ssize_t done=0) -> int:
        """Receive up to `count` bytes: as many as come within 20 ms, but some; 0: no more will.

        Parameters
        ----------
        done : int
            How many of them are in their place already. If there are any, they are enough, and
            what goes wrong after them is told by the next call.

        Returns
        -------
        int
            How many are in their place.

        Raises
        ------
        BlockingIOError
            If nothing came in the time that the socket has.
        OSError
        """
        cdef Py_buffer view
        cdef long long got
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.done = max(done, 0)
        try:
            while not self.failure:
                with nogil:
                    got = self.bring(<char *>view.buf, min(view.len, count))
                if got != -EINTR:
                    break
                PyErr_CheckSignals()
        finally:
            PyBuffer_Release(&view)
        if self.done == 0 and self.failure:
            got, self.failure = self.failure, 0
            raise failed(got)
        return self.done

    def drop(self, Py_ssize_t count, double pause, double longest) -> bool:
        """Receive `count` bytes and forget them; tell whether they were all there in time.

        Parameters
        ----------
        pause, longest : float
            Seconds to wait for each next bytes, and for all.
        """
        cdef bint is_done
        with nogil:
            is_done = self.forget(count, <int>(pause * 1000), wire_now() + longest)
        return is_done

    def close(self) -> None:
        """Know the descriptor no more: its number may be another file's from now on."""
        self.fd = -1

    # ---- without the GIL -------------------------------------------------------------------------

    cdef void begin(self, bint is_used) noexcept nogil:
        self.stage = PEEK if is_used else SEND
        self.failure = 0
        self.sent = 0
        self.received = 0
        self.done = 0

    cdef long long converse(
        self, const char *request, Py_ssize_t size, int patience
    ) noexcept nogil:
        """Go on to the answer's first piece: its size, 0 if there is none, or minus an errno."""
        cdef long long got
        if self.stage == PEEK:
            got = wire_peek(self.fd)
            if got != -EAGAIN:
                return min(got, 0)
            self.stage = SEND
        if self.stage == SEND:
            while self.sent < size:
                got = wire_send(self.fd, request + self.sent, size - self.sent)
                if got < 0:
                    return got
                self.sent += got
            self.sent_at = wire_now()
            self.stage = WAIT
        if self.stage == WAIT:
            if patience >= 0:
                got = wire_wait(self.fd, patience)
                if got <= 0:
                    return got if got else -EAGAIN
            got = wire_receive(self.fd, self.scratch, PIECE, True)
            if got < 0:
                return got
            self.first_byte_after = wire_now() - self.sent_at
            self.received = got
            self.stage = HEAD
        return self.received

    cdef long long take(self, const Wanted *wanted, char *to, Py_ssize_t room) noexcept nogil:
        """Go on with the bytes, if the head is the usual one; with more than `room` it is not."""
        cdef Py_ssize_t head
        if self.stage == HEAD:
            head = expected_head(self.scratch, self.received, wanted)
            if head == 0 or self.received - head > room:
                return 0
            self.done = self.received - head
            memcpy(to, self.scratch + head, self.done)
            self.stage = BODY
        return self.bring(to, room)

    cdef long long bring(self, char *to, Py_ssize_t room) noexcept nogil:
        """Go on until `to` is full, or the turn is over; 0, or -EINTR to be called again.

        The first bytes have the socket's own timeout. An error after them is for the next call.
        """
        cdef long long got
        cdef double now, until = 0
        while self.done < room:
            got = wire_receive(self.fd, to + self.done, room - self.done, self.done == 0)
            if got == 0 or got == -EINTR:
                return got
            if got > 0:
                self.done += got
            elif got != -EAGAIN or self.done == 0:
                self.failure = -got
                break
            # Nothing is left to be received, as it seems.
            if self.done == room or self.done >= ENOUGH:
                break
            now = wire_now()
            if until == 0:
                until = now + TURN
            if now >= until:
                break
            got = wire_wait(self.fd, <int>((until - now) * 1000) + 1)
            if got <= 0:
                return got
        return 0

    cdef bint forget(self, Py_ssize_t count, int pause, double until) noexcept nogil:
        cdef long long got
        while count > 0:
            got = wire_drop(self.fd, waste, min(count, <Py_ssize_t>WASTE))
            if got > 0:
                count -= got
            elif got != -EAGAIN or wire_now() >= until or wire_wait(self.fd, pause) <= 0:
                return False
        return True


cdef object failed(int error):
    return OSError(error, os.strerror(error))
