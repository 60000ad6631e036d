"""Threads that read: made as they are needed, for the whole process."""

import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

__all__ = ["BLOBS", "MOST_WORKERS", "PARTS", "Workers"]

# A thread a connection: one that waits in recv costs some stack and no CPU. More requests at a
# time than this is what stores begin to refuse, and our processor could not follow.
MOST_WORKERS = 128
_PATIENCE = 5.0  # seconds without work after which a thread ends


class Workers:
    """A pool of daemon threads.

    Parameters
    ----------
    name : str
        Of the threads.

    Attributes
    ----------
    chores : list of callable
        Each is called whenever a thread has had nothing to do for five seconds.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.chores: list[Callable[[], object]] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        """In a forked child: there are no threads, and what was queued is the parent's."""
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._waiting = 0
        self._queued = 0

    def run_soon(self, task: Callable[[], object]) -> None:
        """Run a task on a thread, or in turn when all of them are busy.

        The task must keep its errors to itself. Where no thread can be had (the interpreter ends,
        or the system has no more), it runs here and now.
        """
        thread = None
        with self._lock:
            self._queued += 1
            if self._queued > self._waiting and len(self._threads) < MOST_WORKERS:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._threads.add(thread)
            self._tasks.put(task)
        if thread is None:
            return
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._threads.discard(thread)
                is_lost = not self._threads
            if is_lost:
                self._run_here()

    def dismiss(self, timeout: float) -> None:
        """Have the threads end that have nothing to do, and wait for them, seconds at most."""
        with self._lock:
            threads = list(self._threads)
            for _ in threads:
                self._queued += 1
                self._tasks.put(None)
        for thread in threads:
            thread.join(timeout)

    def _work(self) -> None:
        with self._lock:
            self._waiting += 1
        while True:
            try:
                task = self._tasks.get(timeout=_PATIENCE)
            except Empty:
                if self._is_needless():
                    return
                continue
            with self._lock:
                self._queued -= 1
                self._waiting -= 1
                if task is None:
                    self._threads.discard(threading.current_thread())
                    return
            task()
            del task  # it holds memory of a caller
            with self._lock:
                self._waiting += 1

    def _is_needless(self) -> bool:
        for chore in self.chores:
            chore()
        with self._lock:
            if self._queued:
                return False  # it came just now, and counts on this thread
            self._waiting -= 1
            self._threads.discard(threading.current_thread())
            return True

    def _run_here(self) -> None:
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return
            with self._lock:
                self._queued -= 1
            if task is not None:
                task()


PARTS = Workers("blobread-part")
# Whoever reads a whole blob waits for parts. In the same pool they could wait for each other.
BLOBS = Workers("blobread-blob")


def _begin_anew() -> None:
    PARTS.begin_anew()
    BLOBS.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
