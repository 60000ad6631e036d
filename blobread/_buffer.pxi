"""What a reader keeps of the blob, and how much it brings when that is not what is asked for."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.string cimport memcpy

# In bytes. Measured on hot files and on loopback sockets; bench/ has the programs.
cdef Py_ssize_t PAGE = 4 << 10              # the least fill of a local file
cdef Py_ssize_t BLOCK = 16 << 10            # a lone read of a stream is aligned to it, takes two
cdef Py_ssize_t DIRECT = 64 << 10           # from here on a read goes past the buffer
cdef Py_ssize_t LOCAL_DIRECT = 16 << 10     # for a file from here: a pread costs less than a copy
cdef Py_ssize_t NEAR = 128 << 10            # misses that are no further apart belong together
cdef int64_t CREDIT = 1 << 20               # see _Buffer.plan()


@cython.final
@cython.no_gc_clear     # as for _Target
cdef class _Buffer:
    """The bytes around the position: of its own, or lent by the engine."""

    cdef _Source source

    cdef char *base             # base[0:filled] are the blob's bytes from `base_at` on
    cdef int64_t base_at
    cdef Py_ssize_t filled      # 0 while it is being filled

    cdef _Target memory         # what `base` points into,
    cdef object lender          # or the engine's view, held by
    cdef Py_buffer lent         # this

    cdef Py_ssize_t limit       # most bytes of a fill
    cdef Py_ssize_t last        # bytes of the last fill; 0 after a lone read
    cdef int64_t miss_from      # what the last miss brought
    cdef int64_t miss_to
    cdef int64_t hits           # since then
    cdef int64_t credit

    cdef int64_t seen_from      # which part of the buffer was handed out
    cdef int64_t seen_to
    cdef int64_t mark           # where the position was set to last

    def __cinit__(self, _Source source, Py_ssize_t limit):
        self.source = source
        self.limit = limit
        self.credit = CREDIT

    def __dealloc__(self):
        PyBuffer_Release(&self.lent)

    cdef inline bint is_lone(self, int64_t at, Py_ssize_t count) noexcept:
        """Whether plan() would have this read of a file go past, as far from all read before."""
        return (
            self.source.descriptor >= 0 and count < LOCAL_DIRECT and count <= self.source.total - at
            and (at > self.miss_to + NEAR or at < self.miss_from - NEAR) and not self.holds(at)
        )

    cdef inline bint holds(self, int64_t at) noexcept:
        return self.base_at <= at < self.base_at + self.filled

    cdef inline Py_ssize_t direct(self, int64_t at) noexcept:
        """From how many bytes on the engine is to fill the caller's memory.

        A lone read of more than a block may need two of them, and one request brings it as it is.
        """
        return DIRECT if self.base_at <= at <= self.base_at + self.filled else BLOCK + 1

    cdef Py_ssize_t copy(self, char *to, Py_ssize_t count, int64_t at) noexcept:
        """Copy what is here from `at` on, at most `count` bytes; gives how many."""
        if not self.holds(at):
            return 0
        count = min(count, self.filled - (at - self.base_at))
        memcpy(to, self.base + (at - self.base_at), count)
        return count

    cdef Py_ssize_t fill(self, int64_t at) except -1:
        """Have bytes from `at` on here, by one read of the driver; gives how many, 0 at the end."""
        cdef int64_t start
        cdef Py_ssize_t size
        if not self.source.clamp(at, 1):
            return 0
        self.source.stalls += 1
        if self.source.borrow is not None:
            return self.borrow(at)
        size = self.plan(at, 1, True, &start)
        start = at
        return self.refill(at, at, size, True) if self.settle(at, 1, True, &start, &size) else 0

    cdef Py_ssize_t read(
        self, char *to, Py_ssize_t count, int64_t at, object owner, bint once
    ) except -1:
        """Bring `count` bytes from `at` on to the start of `owner`, which lies at `to`.

        Fewer only at the end. They pass through here or go past. With `once` at most one read of
        the driver is made, and what it gives is enough.
        """
        cdef Py_ssize_t done = self.copy(to, count, at)
        cdef Py_ssize_t got, size
        cdef int64_t here, start
        self.mark_seen(at, at + done)
        if done == count or (once and done):
            return done
        self.source.stalls += 1
        while done < count:
            here = at + done
            if self.source.borrow is not None and (
                # Once: an engine's readinto_at would wait for all of it.
                once or count - done < self.direct(here) or self.source.fill_at is None
            ):
                got = self.borrow(here)
            else:
                size = self.plan(here, count - done, False, &start)
                if not self.settle(here, count - done, False, &start, &size):
                    break
                if size == 0:
                    got = self.source.fill(to + done, owner, done, count, here, once, once)
                    self.note_miss(here, got)
                    return done + got
                got = self.refill(here, here if once else start, size, once)
            if got == 0:
                break
            got = self.copy(to + done, count - done, here)
            self.mark_seen(here, here + got)
            done += got
            if once:
                break
        return done

    cdef bint settle(
        self, int64_t at, Py_ssize_t count, bint buffered, int64_t *start, Py_ssize_t *size
    ) except -1:
        """Have a stream for what was planned; if it is the first, and a file's, plan anew.

        Gives False where a missing blob is to be read as its end.
        """
        if self.source.stream is not None or self.source.has_engine():
            return True
        if not self.source.ask(start[0] if size[0] else at, size[0] if size[0] else count):
            return False
        if self.source.descriptor >= 0:
            self.last = 0
            size[0] = self.plan(at, count, buffered, start)
        return True

    cdef Py_ssize_t plan(
        self, int64_t at, Py_ssize_t count, bint buffered, int64_t *start
    ) noexcept:
        """How many bytes a miss at `at` shall bring here, and from where on; 0: none, it goes past.

        Reads that run on double the fill. So do reads that cluster, but these may be about to go
        elsewhere: a local fill is paid from a credit that hits earn, as a hit saves about the time
        in which a page is copied. A lone read brings what was asked for: a pread of 64 bytes costs
        less than any fill.
        """
        cdef bint local = self.source.descriptor >= 0
        cdef bint forward = at >= self.miss_to
        cdef int64_t apart = at - self.miss_to if forward else self.miss_from - at
        cdef Py_ssize_t size = 0
        if not buffered and (
            self.source.borrow is not None or count >= DIRECT or count >= self.limit
            or (local and count >= LOCAL_DIRECT)
        ):
            return 0
        self.credit = min(self.credit + self.hits * PAGE + 64, CREDIT)
        self.hits = 0
        start[0] = at
        if at == self.miss_to:
            size = max(2 * self.last, 2 * (PAGE if local else BLOCK))
        elif apart <= NEAR and self.source.total >= 0:
            size = min(max(2 * self.last, PAGE if local else 2 * BLOCK), self.limit)
            if local and self.credit < size:
                size = 0
            else:
                if local:
                    self.credit -= size
                # A cluster has bytes on both sides of the read; more ahead if it moves ahead.
                start[0] = max(0, at - (size // 4 if forward else size // 2)) // PAGE * PAGE
        elif not local:
            size = 2 * BLOCK
            start[0] = at // BLOCK * BLOCK
        self.last = min(size, self.limit)
        if size == 0 and buffered:
            size = max(count, PAGE)
        size = min(size, self.limit)
        if size and (start[0] + size < at + count or self.source.total < 0):
            start[0] = at
        return size

    cdef Py_ssize_t refill(self, int64_t at, int64_t start, Py_ssize_t size, bint once) except -1:
        """Bring the bytes [start, start + size), or what one read gives, but some from `at` on.

        Gives how many there are from `at` on; 0 is the end of the blob.
        """
        cdef _Source source = self.source
        cdef Py_ssize_t got = 0
        cdef Py_ssize_t more
        if source.stream is not None and source.descriptor < 0 and start < source.stream_at <= at:
            start = source.stream_at    # the stream is nearer than the block's edge
        size = source.clamp(start, size)
        self.drop()
        if self.memory is None or self.memory.size < size:
            self.memory = target_of_size(size)
        self.base = self.memory.to
        while got <= at - start:
            more = source.fill(self.base + got, self.memory, got, size, start + got, True, once)
            if more == 0:
                break
            got += more
        self.base_at = start
        self.filled = got
        self.seen_from = self.seen_to = at
        self.note_miss(start, got)
        return max(0, start + got - at)

    cdef Py_ssize_t borrow(self, int64_t at) except -1:
        """Hold what the engine has read ahead."""
        self.drop()
        lender = self.source.borrowed(at)
        if lender is None:
            return 0
        try:
            PyObject_GetBuffer(lender, &self.lent, PyBUF_SIMPLE)
        except BaseException:
            lender.release()
            raise
        self.lender = lender
        self.base = <char *>self.lent.buf
        self.base_at = at
        self.filled = self.source.clamp(at, self.lent.len)
        self.seen_from = self.seen_to = at
        self.source.fetched += self.filled
        return self.filled

    cdef int note_miss(self, int64_t at, Py_ssize_t got) noexcept:
        self.miss_from = at
        self.miss_to = at + got
        self.source.note_run(at, got)
        return 0

    cdef int note_seen(self, int64_t position) noexcept:
        """Before the position moves away: from where it was set to up to it, all was handed out."""
        return self.mark_seen(self.mark, position)

    cdef int mark_seen(self, int64_t start, int64_t stop) noexcept:
        if start >= stop or not self.holds(start):
            return 0
        if self.seen_from == self.seen_to:
            self.seen_from = start
        self.seen_from = min(self.seen_from, start)
        self.seen_to = max(self.seen_to, min(stop, self.base_at + self.filled))
        return 0

    cdef int drop(self) except -1:
        """Hold nothing, and give back what was lent."""
        if self.filled:
            self.source.wasted += self.filled - (self.seen_to - self.seen_from)
        self.filled = 0
        if self.lender is not None:
            PyBuffer_Release(&self.lent)
            lender, self.lender = self.lender, None
            lender.release()
        return 0
