"""A large read of a local file, shared by a few threads: a copy is bound by the CPU that makes it.

The threads live as long as the read, and none writes after it. They need no GIL until they end, so
that other threads of the program do not hold them up.
"""

from _thread import start_new_thread

cdef extern from "_claim.h":
    long blobread_claim(volatile long *next, long count) nogil

# In bytes; measured on hot files, where a thread costs some 50 us to have.
cdef Py_ssize_t SHARED = 32 << 20   # from here on a read is shared
cdef Py_ssize_t SHARE = 4 << 20     # what a thread takes at a time; a signal waits for 16 of them
cdef int THREADS = 4                # at most: that many copies fill the way to the memory


cdef int cpu_count():
    """How many CPUs this process may use."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cython.final
cdef class _SharedRead:
    """`count` bytes from `at` on, which threads take share by share, in order."""

    cdef int fd
    cdef char *to
    cdef Py_ssize_t count
    cdef int64_t at
    cdef long shares
    cdef long next              # share to be taken
    cdef Py_ssize_t good        # bytes from the start on that are there, once all have come back
    cdef list helpers           # a lock for each, which it lets go of when it ends

    cdef int start(self, int helpers) except -1:
        """Have helpers begin, as many as can be had."""
        for _ in range(helpers):
            lock = allocate_lock()
            lock.acquire()
            self.helpers.append(lock)
            try:
                start_new_thread(self.help, (lock,))
            except (RuntimeError, MemoryError):
                self.helpers.pop()
                break
        return 0

    def help(self, lock):
        cdef Py_ssize_t good
        with nogil:
            good = self.bring(self.shares)
        self.good = min(self.good, good)
        lock.release()

    cdef bint is_taken(self) noexcept:
        return blobread_claim(&self.next, 0) >= self.shares

    cdef Py_ssize_t bring(self, long most) noexcept nogil:
        """Bring at most so many shares; gives where that failed, `count` if it did not.

        After a failure no share is taken any more. Those before it were taken before it, and are
        brought: what lies before the first failure is all there.
        """
        cdef Py_ssize_t done, stop
        cdef long long got
        cdef long share
        while most > 0:
            most -= 1
            share = blobread_claim(&self.next, 1)
            if share >= self.shares:
                break
            done = share * SHARE
            stop = min(done + SHARE, self.count)
            while done < stop:
                got = blobread_pread(self.fd, self.to + done, stop - done, self.at + done)
                if got > 0:
                    done += got
                elif got != -EINTR:
                    self.end()
                    return done
        return self.count

    cdef void end(self) noexcept nogil:
        """Have no more shares taken."""
        blobread_claim(&self.next, self.shares)

    cdef int join(self) except -1:
        """Wait until no helper writes any more, whatever is raised meanwhile: it is raised then."""
        error = None
        for lock in self.helpers:
            while True:
                try:
                    lock.acquire()
                    break
                except BaseException as exc:
                    error = exc
        if error is not None:
            raise error
        return 0


cdef Py_ssize_t read_shared(
    _Source source, char *to, Py_ssize_t count, int64_t at, int threads
) except -1:
    """Bring bytes from `at` on, and give how many; where they are not all, pread() says why."""
    cdef _SharedRead read = _SharedRead.__new__(_SharedRead)
    cdef Py_ssize_t good
    read.fd = source.descriptor
    read.to = to
    read.count = read.good = count
    read.at = at
    read.shares = (count + SHARE - 1) // SHARE
    read.helpers = []
    try:
        read.start(threads - 1)
        while not read.is_taken():
            with nogil:
                good = read.bring(PIECE // SHARE)
            read.good = min(read.good, good)
            PyErr_CheckSignals()
            source.check_open()
    finally:
        read.end()
        read.join()
    PyErr_CheckSignals()        # one that came while the last thread was waited for
    source.requests += read.shares
    source.fetched += read.good
    return read.good
