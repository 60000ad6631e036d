"""Tokens that retries cost: so that all streams of a process do not hammer what is dead."""

import os
import threading

__all__ = ["TokenBucket", "bucket"]


class TokenBucket:
    """Tokens of the whole process; used by many threads.

    The numbers are those of the AWS SDKs' "standard" retry mode: 500 tokens, 5 for a retry. A
    request that ends well gives 1, and after a retry it gives back what the retry had cost: so an
    endpoint that fails often and never for long can be read without end.
    """

    capacity = 500
    cost = 5
    gain = 1

    def __init__(self) -> None:
        self._tokens = self.capacity
        self._lock = threading.RLock()

    @property
    def tokens(self) -> int:
        """How many there are."""
        return self._tokens

    def take(self) -> bool:
        """Pay for a retry; False if there is too little left."""
        with self._lock:
            if self._tokens < self.cost:
                return False
            self._tokens -= self.cost
            return True

    def give(self, count: int = gain) -> None:
        """Put tokens back."""
        if self._tokens == self.capacity:
            return
        with self._lock:
            self._tokens = min(self._tokens + count, self.capacity)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock."""
        self._lock = threading.RLock()


bucket = TokenBucket()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=bucket.after_fork)
