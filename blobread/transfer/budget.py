"""The memory of all that is read ahead: one budget for the whole process."""

import operator
import os
import sys
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable

from ._block import Block, Pages, Tally
from .allowance import WORKERS, allowance, is_worker

__all__ = ["BUDGET", "LEAST", "Budget", "memory_budget", "set_memory_budget"]

LEAST = 32 << 10  # bytes; what a reader has in any case, so 1000 readers have 32 MiB

_MOST_FREE = 64 << 20  # bytes that wait for their next use
_PATIENCE = 5.0  # seconds for which they wait
_MOST_LIMBO = 16  # blocks

# Powers of two and the three quarters between, from 16 KiB to 16 MiB: at most a fifth is lost.
_CAPACITIES = [
    *(quarter << power for power in range(12, 22) for quarter in (4, 5, 6, 7)),
    16 << 20,
]
_PAGE = 4096


class Budget:
    """Bounds the memory that is read ahead into, and keeps some for reuse.

    Parameters
    ----------
    limit : int, optional
        In bytes. By default that of `set_memory_budget`'s notes, looked up when it is needed.
    clock : callable
        Gives seconds.

    Notes
    -----
    It has no lock: what must happen at once happens in one call of `Tally` or of a deque, under
    the GIL. A finalizer or a signal handler that gives a block back, while the thread that it
    interrupts does the same, can so neither hang nor find anything half done. In a forked child it
    is empty; what was taken before belongs to no budget there, and may be given back all the same.
    """

    def __init__(
        self, limit: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._whole = limit
        self._parts = 1
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._tally = Tally()
        # No capacity is added later: so they can be gone through while others take and give.
        self._free: dict[int, deque[Pages]] = {capacity: deque() for capacity in _CAPACITIES}
        self._limbo: deque[Block] = deque()  # given back while somebody had a view
        self._next_trim = 0.0

    @property
    def used(self) -> int:
        """Bytes of the blocks that are out, or given back with a view of them alive."""
        return self._tally.used

    @property
    def free(self) -> int:
        """Bytes that are kept for reuse."""
        return self._tally.free

    @property
    def limit(self) -> int:
        """Bytes that `used` and `free` are together at most, but for the least of each reader."""
        if self._whole is None:
            if is_worker():
                self._parts = WORKERS
            self._whole = allowance()
        return max(1, self._whole // self._parts)

    def set_limit(self, size: int) -> None:
        """Set the limit; what is out already stays out.

        Raises
        ------
        ValueError
            If `size` is not positive.
        """
        size = operator.index(size)
        if size <= 0:
            raise ValueError(f"the memory budget must be positive, not {size}")
        self._whole, self._parts = min(size, sys.maxsize), 1
        while self._tally.total > self.limit and self._drop_free():
            pass

    def take(self, size: int, *, least: bool = False, holding: int = 0) -> Block | None:
        """Take a block; what it holds is undefined.

        Parameters
        ----------
        size : int
            In bytes. More may be counted, up to the next size of which memory is kept.
        least : bool
            Whether it is the one small part that a reader gets in any case, of up to `LEAST` bytes.
        holding : int
            Bytes that whoever asks has already; if any, a quarter of the limit is left to others.

        Returns
        -------
        Block or None
            None where the budget does not allow it, or the system has no memory.

        Raises
        ------
        ValueError
            If `size` is not positive, or more than `LEAST` for the least of a reader.
        MemoryError
            If the system has no memory even for that.
        """
        if size <= 0 or (least and size > LEAST):
            raise ValueError(f"{size} is no size of a block" + least * f" of up to {LEAST} bytes")
        self._look_after()
        most = most_used = sys.maxsize
        if not least:
            most = self.limit
            most_used = most - most // 4 if holding else most
        capacity = _capacity_for(size)
        waiting = self._free.get(capacity)
        while waiting:
            try:
                pages = waiting.pop()
            except IndexError:
                break  # another thread was faster
            block = self._tally.reuse(pages, size, most_used)
            if block is None:
                waiting.append(pages)
            return block
        try:
            while capacity <= most_used - self._tally.used:
                block = self._tally.make(size, capacity, most_used, most)
                if block is not None or not self._drop_free():
                    return block
        except MemoryError:
            if least:
                raise
        return None

    def give(self, block: Block) -> None:
        """Give a block back. While views of it are alive it counts as used, and is not reused.

        Raises
        ------
        ValueError
            If it was given back before.
        """
        if block.is_given_back:
            raise ValueError("the block was given back before")
        self._put(block)
        self._look_after()

    def trim(self, patience: float = _PATIENCE) -> None:
        """Give free memory back to the system, if it was not used for so many seconds."""
        self._empty_limbo()
        now = self._clock()
        self._next_trim = now + _PATIENCE / 4
        for waiting in self._free.values():
            while waiting:
                try:
                    pages = waiting.popleft()
                except IndexError:
                    break  # another thread was faster
                if now - pages.since < patience:
                    waiting.appendleft(pages)
                    break

    def _look_after(self) -> None:
        if self._limbo:
            self._empty_limbo()
        if self._clock() >= self._next_trim:
            self.trim()

    def _put(self, block: Block) -> None:
        """Keep the pages of a block for reuse, or free them, or have it wait for its views."""
        pages = self._tally.retire(block)
        if pages is not None:
            waiting = self._free.get(pages.capacity)
            if waiting is not None and self._tally.free <= _MOST_FREE:
                pages.since = self._clock()
                waiting.append(pages)
        elif self._tally.has(block) and len(self._limbo) < _MOST_LIMBO:
            self._limbo.append(block)
        # Whatever is not kept here goes when its last view does, and counts until then.

    def _empty_limbo(self) -> None:
        for _ in range(len(self._limbo)):
            try:
                block = self._limbo.popleft()
            except IndexError:
                break  # another thread was faster
            self._put(block)

    def _drop_free(self) -> bool:
        """Free some memory that waits; whether there was any."""
        for waiting in self._free.values():
            try:
                waiting.popleft()
            except IndexError:
                continue
            return True
        return False

    def begin_anew(self) -> None:
        """In a forked child: have nothing, and a smaller limit than the parent."""
        self._parts = WORKERS
        self._begin()


def _capacity_for(size: int) -> int:
    """The least capacity that memory is made of for so many bytes."""
    if size > _CAPACITIES[-1]:
        return -(-size // _PAGE) * _PAGE
    return _CAPACITIES[bisect_left(_CAPACITIES, size)]


BUDGET = Budget()


def memory_budget() -> int:
    """Give the bytes that all readers of this process together may read ahead."""
    return BUDGET.limit


def set_memory_budget(size: int) -> None:
    """Set how many bytes all readers of this process together may read ahead.

    Parameters
    ----------
    size : int
        In bytes.

    Raises
    ------
    ValueError
        If `size` is not positive.

    Notes
    -----
    Without it, the environment variable ``BLOBREAD_MEMORY_BUDGET`` sets it (``64MiB``, ``1GiB``, or
    a number of bytes); without that, it is an eighth of the memory that this process may have, by
    the machine and by its control groups, and at most 512 MiB. A forked child, and a process that
    multiprocessing started, has a quarter of that, unless it sets its own. Each reader has 32 KiB
    in any case.
    """
    BUDGET.set_limit(size)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=BUDGET.begin_anew)
