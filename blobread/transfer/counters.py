"""What an engine counts."""

import threading

__all__ = ["Counters"]


class Counters:
    """Sums of what was done for one reader; added to by many threads.

    Attributes
    ----------
    requests, retries, connections : int
        Requests asked, those of them that followed a failure, and connections made.
    bytes_fetched, bytes_wasted : int
        Received, and of these dropped before anyone read them.
    stalls : int
        Times that the reader waited for bytes.
    """

    __slots__ = (
        "_lock",
        "bytes_fetched",
        "bytes_wasted",
        "connections",
        "requests",
        "retries",
        "stalls",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.retries = 0
        self.connections = 0
        self.bytes_fetched = 0
        self.bytes_wasted = 0
        self.stalls = 0
        self._lock = threading.RLock()

    def add(
        self,
        *,
        requests: int = 0,
        retries: int = 0,
        connections: int = 0,
        bytes_fetched: int = 0,
        bytes_wasted: int = 0,
        stalls: int = 0,
    ) -> None:
        """Add to the sums."""
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.connections += connections
            self.bytes_fetched += bytes_fetched
            self.bytes_wasted += bytes_wasted
            self.stalls += stalls

    # Those that come with each small read, made short.

    def stalled(self) -> None:
        """Add a stall."""
        with self._lock:
            self.stalls += 1

    def asked(self) -> None:
        """Add a request."""
        with self._lock:
            self.requests += 1

    def fetched(self, count: int) -> None:
        """Add bytes that came."""
        with self._lock:
            self.bytes_fetched += count
