# cython: language_level=3, auto_pickle=False, autotestdict=False
# cython: embedsignature=True, embedsignature.format=clinic
"""Memory for what is read ahead: counted while it exists, and reused only when nobody sees it.

There is no lock here and none is needed: each method below runs whole under the GIL, runs no code
of anybody else, and lets go of the GIL only where nothing of the bookkeeping is half done. So
finalizers and signal handlers may take and give back memory, whatever they came between. No type
here is known to the collector, as none can be part of a cycle.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
)
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.string cimport memmove

cdef extern from "_pages.h":
    void *blobread_take_pages(size_t size) nogil
    void blobread_give_pages(void *at, size_t size) nogil

cdef Py_ssize_t MAPPED = 1 << 20    # from here on, memory goes back to the system when it is freed
cdef Py_ssize_t LONG = 64 << 10     # a copy that takes longer than getting the GIL back


@cython.final
@cython.no_gc
cdef class Tally:
    """How many bytes exist: `used` in blocks, `free` in pages that wait for their next use.

    Pages count themselves in and out, so nothing that is lost without being given back is
    counted for ever.
    """

    cdef readonly Py_ssize_t used
    cdef readonly Py_ssize_t free

    @property
    def total(self):
        """Both of them, at one instant."""
        return self.used + self.free

    def make(self, Py_ssize_t size, Py_ssize_t capacity, Py_ssize_t most_used, Py_ssize_t most):
        """Make a block of new memory.

        Parameters
        ----------
        size, capacity : int
            In bytes: of the block, and of the memory that it is the beginning of.
        most_used, most : int
            In bytes: beyond which `used`, and all that exists, must not grow.

        Returns
        -------
        Block or None
            None if it would.

        Raises
        ------
        MemoryError
        """
        if capacity > most_used - self.used or capacity > most - self.used - self.free:
            return None
        return Block(size, Pages(capacity, self))

    def reuse(self, Pages pages not None, Py_ssize_t size, Py_ssize_t most_used):
        """Make a block of free pages of this tally, or give None as `make` does."""
        if pages.tally is not self or not pages.is_free:
            raise ValueError("these pages are not free here")
        if pages.capacity > most_used - self.used:
            return None
        block = Block(size, pages)
        pages.is_free = False
        self.free -= pages.capacity
        self.used += pages.capacity
        return block

    def retire(self, Block block not None):
        """End a block, and take its pages; None as long as somebody has a view of them."""
        cdef Pages pages = block.pages
        block.is_retired = True
        if pages is None or pages.tally is not self or block.exports:
            return None
        block.pages = None
        pages.is_free = True
        self.used -= pages.capacity
        self.free += pages.capacity
        return pages

    def has(self, Block block not None):
        """Tell whether a block is counted here."""
        return block.pages is not None and block.pages.tally is self


@cython.final
@cython.no_gc
cdef class Pages:
    """Memory that one block after the other is made of; what it holds at first is undefined."""

    cdef char *at
    cdef Tally tally
    cdef bint is_free
    cdef readonly Py_ssize_t capacity
    cdef public double since    # when they came to be free, in seconds of the budget's clock

    def __cinit__(self, Py_ssize_t capacity, Tally tally not None):
        if capacity <= 0:
            raise ValueError(f"the size must be positive, not {capacity}")
        if capacity >= MAPPED:
            self.at = <char *>blobread_take_pages(capacity)
        else:
            self.at = <char *>PyMem_RawMalloc(capacity)
        if self.at is NULL:
            raise MemoryError(f"no memory for {capacity} bytes of read-ahead")
        self.capacity = capacity
        self.tally = tally
        tally.used += capacity

    def __dealloc__(self):
        if self.at is NULL:
            return
        if self.capacity >= MAPPED:
            with nogil:     # 16 MiB that were written to take a millisecond
                blobread_give_pages(self.at, self.capacity)
        else:
            PyMem_RawFree(self.at)
        if self.is_free:
            self.tally.free -= self.capacity
        else:
            self.tally.used -= self.capacity


@cython.final
@cython.no_gc
cdef class Block:
    """A part's memory, which knows how many exports of it are alive.

    Parameters
    ----------
    size : int
        In bytes. What the memory holds at first is undefined, and may be of another blob: show
        nobody more of it than was received.
    pages : Pages, optional
        What it is made of; new ones by default, which no budget counts.

    Attributes
    ----------
    exports : int
        Buffers of it that were taken and not released. Slices of a view, and what NumPy makes of
        one, keep the buffer that the view took.

    Notes
    -----
    Once it was given back to its budget, nothing new is made of it: the pages may be another
    block's by then. Views that are alive keep the pages from that, and the memory from being freed.
    """

    cdef Pages pages
    cdef bint is_retired
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t exports

    def __cinit__(self, Py_ssize_t size, Pages pages=None):
        if pages is None:
            pages = Pages(size, Tally())
        if not 0 < size <= pages.capacity:
            raise ValueError(f"the size must be between 1 and {pages.capacity}, not {size}")
        self.pages = pages
        self.size = size

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.is_retired:
            raise BufferError("the block was given back")
        PyBuffer_FillInfo(view, self, self.pages.at, self.size, 0, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1

    def __len__(self):
        return self.size

    def __sizeof__(self):
        held = 0 if self.pages is None else self.pages.capacity
        return object.__sizeof__(self) + held

    def __repr__(self):
        return f"<Block of {self.size} bytes, {self.exports} exports>"

    @property
    def is_given_back(self):
        """Whether the block has ended; views of it may be alive."""
        return self.is_retired

    def view(self, Py_ssize_t start, Py_ssize_t stop, *, bint readonly=True):
        """Give a view of the bytes ``[start, stop)``.

        Raises
        ------
        IndexError
            If the block does not have them.
        BufferError
            If the block was given back.
        """
        self.check(start, stop)
        view = memoryview(self)
        # Each of these shares the one export, which ends with the last of them.
        if stop - start < self.size:
            view = view[start:stop]
        return view.toreadonly() if readonly else view

    def copy(self, Py_ssize_t start, Py_ssize_t stop, target):
        """Copy the bytes ``[start, stop)`` to the beginning of `target`; other threads run on.

        Returns
        -------
        int
            How many they are.

        Raises
        ------
        IndexError
            If the block does not have them.
        ValueError
            If `target` has no room for them.
        BufferError, TypeError
            If `target` is not writable, contiguous memory, or the block was given back and nobody
            has a view of it.
        """
        cdef Py_buffer into
        cdef Py_ssize_t count = stop - start
        cdef char *source
        self.check(start, stop)
        PyObject_GetBuffer(target, &into, PyBUF_WRITABLE)
        try:
            # Now, as taking the target ran its code. While somebody has a view, it may be copied
            # for them: another thread can give the block back between the two.
            if self.is_retired and not self.exports:
                raise BufferError("the block was given back")
            if into.len < count:
                raise ValueError(f"{count} bytes do not fit into {into.len}")
            source = self.pages.at + start
            if count < LONG:
                memmove(into.buf, source, count)
            else:
                self.exports += 1
                with nogil:
                    memmove(into.buf, source, count)
                self.exports -= 1
        finally:
            PyBuffer_Release(&into)
        return count

    cdef int check(self, Py_ssize_t start, Py_ssize_t stop) except -1:
        if not 0 <= start <= stop <= self.size:
            raise IndexError(f"the bytes [{start}, {stop}) are not within {self.size}")
        return 0
