"""Threads that read: made as they are needed, for the whole process."""

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["BLOBS", "MOST_WORKERS", "PARTS", "Workers"]

# A thread a connection: one that waits in recv costs some stack and no CPU. More requests at a
# time than this is what stores begin to refuse, and our processor could not follow.
MOST_WORKERS = 128
_PATIENCE = 5.0  # seconds without work after which a thread ends

Task: TypeAlias = Callable[[], object]


class _Worker:
    """A thread, what it is to do next, and the lock that it waits on for that."""

    __slots__ = ("is_dismissed", "task", "thread", "wake")

    def __init__(self, task: Task) -> None:
        self.task: Task | None = task
        self.wake = threading.Lock()
        self.wake.acquire()
        self.is_dismissed = False
        self.thread: threading.Thread


class Workers:
    """A pool of daemon threads.

    Parameters
    ----------
    name : str
        Of the threads.

    Attributes
    ----------
    chores : list of callable
        Each is called whenever a thread has had nothing to do for five seconds. As long as one
        returns something true, the last thread stays.

    Notes
    -----
    A task is handed to a thread that waits, and no number says how many of them there are: so
    Ctrl-C in the midst of `run_soon` may lose that task, and no other.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.chores: list[Callable[[], object]] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        """In a forked child: there are no threads, and what was queued is the parent's."""
        self._lock = threading.RLock()  # a signal handler may come between
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._waiting: deque[Task] = deque()

    def run_soon(self, task: Task) -> None:
        """Run a task on a thread, or in turn when all of them are busy.

        The task must keep its errors to itself. Where no thread can be had (the interpreter ends,
        or the system has no more), it runs here and now.
        """
        with self._lock:
            if self._idle:
                self._hand_over(task)
                return
            if len(self._workers) >= MOST_WORKERS:
                self._waiting.append(task)
                return
        worker = self._new(task)
        try:
            with self._lock:
                self._workers.add(worker)
            worker.thread.start()
        except BaseException as error:
            if not self._is_lost(worker):
                raise  # an interrupt: the thread is there
            if not isinstance(error, RuntimeError):
                raise
            self._run_without(task)

    def dismiss(self, timeout: float) -> None:
        """Have the threads end that have nothing to do, and wait for them, seconds at most."""
        with self._lock:
            workers = list(self._workers)
            for worker in workers:
                worker.is_dismissed = True
                if worker.wake.locked():
                    worker.wake.release()
            self._idle.clear()
        for worker in workers:
            if worker.thread.ident is not None:  # an interrupt came before that
                worker.thread.join(timeout)

    def _new(self, task: Task) -> _Worker:
        worker = _Worker(task)
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=self._name, daemon=True
        )
        return worker

    def _hand_over(self, task: Task) -> None:
        worker = self._idle.pop()  # the one that waits for the shortest time: the others may end
        worker.task = task
        worker.wake.release()

    def _is_lost(self, worker: _Worker) -> bool:
        """Whether its thread was not started; it is no worker then."""
        if worker.thread.ident is not None:
            return False
        with self._lock:
            self._workers.discard(worker)
        return True

    def _run_without(self, task: Task) -> None:
        """Run a task that can have no thread of its own."""
        with self._lock:
            if self._idle:
                self._hand_over(task)
                return
            if self._workers:
                self._waiting.append(task)
                return
        task()

    def _work(self, worker: _Worker) -> None:
        while True:
            task, worker.task = worker.task, None
            if task is not None:
                task()
            del task  # it holds memory of a caller
            with self._lock:
                if self._waiting:
                    worker.task = self._waiting.popleft()
                    continue
                if worker.is_dismissed:
                    self._workers.discard(worker)
                    return
                self._idle.append(worker)
            while not worker.wake.acquire(timeout=_PATIENCE):
                if self._is_over(worker):
                    return

    def _is_over(self, worker: _Worker) -> bool:
        """Whether a thread ends that has waited for long."""
        is_needed = self._do_chores()
        with self._lock:
            if worker.task is not None:
                if worker.wake.locked():
                    worker.wake.release()  # who handed it over was interrupted
                return False
            if is_needed and len(self._workers) == 1:
                return False
            if worker in self._idle:
                self._idle.remove(worker)
            self._workers.discard(worker)
            return True

    def _do_chores(self) -> bool:
        return any([chore() for chore in self.chores])


PARTS = Workers("blobread-part")
# Whoever reads a whole blob waits for parts. In the same pool they could wait for each other.
BLOBS = Workers("blobread-blob")


def _begin_anew() -> None:
    PARTS.begin_anew()
    BLOBS.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
