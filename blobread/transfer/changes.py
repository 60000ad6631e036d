"""Waiting for what a lock guards to change, where Ctrl-C may come at any instant."""

import threading
from typing import Protocol

__all__ = ["Changes"]


class _Waiter(Protocol):
    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...


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
        self._waiters: list[_Waiter] = []

    def waiter(self) -> _Waiter:
        """Give what to `acquire`, once the lock is left, to wait for the next change.

        To be called under the lock.
        """
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        return waiter

    def tell(self) -> None:
        """Wake all who wait. To be called under the lock."""
        # An interrupt on the way leaves the rest to the next call, so all stay in until the end.
        for waiter in self._waiters:
            if waiter.locked():
                waiter.release()
        self._waiters.clear()
