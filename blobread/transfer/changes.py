"""Waiting for what a lock guards to change, where Ctrl-C may come at any instant."""

import threading

__all__ = ["Changes", "Waiter"]

# Seconds. A signal that comes just before a wait does not end it, and on Windows none does.
_SLICE = 0.25


class Waiter:
    """Waits for one change."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def acquire(self, timeout: float = -1) -> bool:
        """Wait for the change, so many seconds at most; False: it has not come, and may yet."""
        while not self._lock.acquire(timeout=_SLICE if timeout < 0 else min(timeout, _SLICE)):
            if 0 <= timeout <= _SLICE:
                return False
            if timeout > 0:
                timeout -= _SLICE
        return True

    def wake(self) -> None:
        """End the wait; idempotent."""
        if self._lock.locked():
            self._lock.release()


class Changes:
    """A lock, and those who wait for a change of what it guards.

    `threading.Condition` is Python code: an interrupt within it can leave its lock taken, or free
    it for another. Here the lock is only ever taken by ``with``, and waited on by `acquire`: both
    are C, so an interrupt comes before or after them. Nor do we wait within the lock: so who was
    interrupted leaves nothing behind but an entry that the next change removes.

    Attributes
    ----------
    lock : RLock
        Reentrant, for a signal handler, or a finalizer, that comes between.
    """

    __slots__ = ("_waiters", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._waiters: list[Waiter] = []

    def waiter(self) -> Waiter:
        """Give what waits for the next change, once the lock is left. To be called under it."""
        waiter = Waiter()
        self._waiters.append(waiter)
        return waiter

    def tell(self) -> None:
        """Wake all who wait. To be called under the lock."""
        # An interrupt on the way leaves the rest to the next call, so all stay in until the end.
        for waiter in self._waiters:
            waiter.wake()
        self._waiters.clear()
