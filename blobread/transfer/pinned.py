"""One version of a blob, as one reader reads it: what is asked for meets what is held ahead."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

from ..driver import BlobInfo, RawStream
from .ahead import AheadPart
from .asked import Asked
from .budget import BUDGET, LEAST
from .changes import Changes
from .cursors import Cursors
from .fill import Fill, Place
from .part import Copy, Part
from .ranges import plan
from .receive import receive, receive_and_drop
from .request import Request
from .resume import ResumingStream
from .source import Source
from .tokens import bucket
from .window import Flow, Window
from .workers import PARTS

__all__ = ["OnProgress", "PinnedBlob"]

# Called with the bytes that have come, and the bytes in all where that is known.
OnProgress: TypeAlias = Callable[[int, int | None], object]

_logger = logging.getLogger("blobread.transfer")

_BLOCK = 16 * 1024  # a lone small read is aligned to it, and takes two
_LARGEST_BLOCK = 256 * 1024
_LENT = 1024 * 1024  # at most, so that it is seen where the reader is
_LENT_OF_ASKED = 64 * 1024  # so that it is seen what of it was read
_LEAST_PULLED = 4 * 1024
_WHOLE = 1024 * 1024  # of the bytes of a read that are one part in any case
_PARALLEL = 16 * 1024 * 1024  # of a read that several connections serve better, however fast
_OPENING = 256 * 1024  # of a first stream that does not say where it ends, no more is used
_LONGEST_FLOW = 128 * 1024 * 1024
_PATIENCE = 0.1  # seconds for a worker to begin with a part that is waited for


class PinnedBlob:
    """The bytes of one version of a blob, for one reader.

    Parameters
    ----------
    source : Source
    pin : BlobInfo
        Its size is known.
    parallel, buffer_size : int or None
    on_progress : callable or None
    first : RawStream or None
        The stream that came with the info, from offset 0 on.
    """

    def __init__(
        self,
        source: Source,
        pin: BlobInfo,
        *,
        parallel: int | None,
        buffer_size: int | None,
        on_progress: OnProgress | None,
        first: RawStream | None,
    ) -> None:
        assert pin.size is not None
        self.pin = pin
        self._size = pin.size
        self._source = source
        assert source.link is not None
        self._link = source.link
        self._changes = Changes()
        self._cursors = Cursors(self._changes, self._link, source.counters, parallel, buffer_size)
        self._most = buffer_size
        self._on_progress = on_progress
        self._under_way: set[Fill | Request | ResumingStream] = set()
        self._is_stopped = False
        if first is not None:
            stop = min(getattr(first, "stop", _OPENING), self._size)
            self._cursors.opened(Flow(ResumingStream(source, 0, stop, first), 0, stop))

    # ---- reads into the caller's memory ------------------------------------------------------

    def readinto_at(self, memory: memoryview, offset: int) -> int:
        """Fill all of `memory` with the bytes from `offset` on."""
        stop = offset + len(memory)
        lent = flow = None
        held: list[AheadPart] = []
        with self._changes.lock:
            self._check()
            window = self._cursors.enter(offset)
            part = self._cursors.held.at(offset)
            if part is not None and stop <= part.start + part.received:
                lent = part.lend(offset, stop)
            else:
                held = self._cursors.held.between(offset, stop)
                flow = self._take_flow(window, offset) if part is None else None
            window.read(len(memory))
            if lent is None:
                window.waited()
            begun = None
            if window.runs_on:
                begun = self._cursors.read_ahead(self._source, window, self._size)
        if begun or self._cursors.dropped:
            self._run(begun or ())
        if lent is None:
            self._source.counters.stalled()
        if part is not None and lent is not None:
            with lent:
                part.block.copy(offset - part.start, stop - part.start, memory)
        elif flow is not None and not held and not self._cursors.reads_ahead:
            count = min(flow.stop, stop) - offset
            with memory[:count] as first, memory[count:] as rest:
                self._pull(flow, first, offset, window)
                if rest:
                    self._fetch(rest, offset + count, window)
        elif held or flow is not None:
            self._gather(memory, offset, held, flow, window)
        elif stop - offset <= _WHOLE and not window.runs_on:
            self._fetch_here(memory, offset)
        else:
            self._fetch(memory, offset, window)
        if self._on_progress is not None:
            self._tick()
        return stop - offset

    def _gather(
        self,
        memory: memoryview,
        offset: int,
        held: Sequence[AheadPart],
        flow: Flow | None,
        window: Window,
    ) -> None:
        """Fill `memory` with what is held, what the cursor has a stream of, and what is fetched."""
        stop = offset + len(memory)
        at = offset
        pulled = offset
        places: list[Place] = []
        if flow is not None:
            pulled = at = min(flow.stop, stop, held[0].start if held else stop)
        for part in held:
            if at < part.start:
                places += self._places(memory, offset, at, part.start, window)
            at = max(at, part.stop)
        if at < stop:
            places += self._places(memory, offset, at, stop, window)

        def bring_rest() -> None:
            if flow is not None:
                with memory[: pulled - offset] as first:
                    self._pull(flow, first, offset, window)
            for part in held:
                start = max(part.start, offset)
                with memory[start - offset : part.stop - offset] as piece:
                    self._copy(part, piece, start, window)

        self._fill(places, bring_rest)

    def _fetch(self, memory: memoryview, offset: int, window: Window) -> None:
        """Fill `memory` with bytes of which none are held."""
        stop = offset + len(memory)
        connections = self._cursors.connections
        is_one = connections < 2 or (len(memory) < _PARALLEL and not self._cursors.reads_ahead)
        if is_one and window.runs_on:
            # One connection is enough: the fewer requests the better, as many as were read.
            longer = offset + min(2 * window.consumed, self._most or _LONGEST_FLOW)
            stop = min(max(stop, longer), self._size)
            flow = Flow(ResumingStream(self._source, offset, stop), offset, stop)
            self._pull(flow, memory, offset, window)
            return
        if is_one or len(memory) <= _WHOLE:
            self._fetch_here(memory, offset)
            return
        places = self._places(memory, offset, offset, stop, window)
        if len(places) == 1:
            self._fetch_here(memory, offset)
            return
        self._fill(places)

    def _fetch_here(self, memory: memoryview, offset: int) -> None:
        """Fill `memory` by one request, on the thread of the caller."""
        if not self._source.is_lazy:
            self._fetch_surely(memory, offset, None, None)
            return
        # Small reads all over a blob come by here: to get ready for faults costs as much as all
        # the rest, so that is done where there is one. The memory is safe: only this thread
        # writes into it.
        request = Request(self._source)
        done = 0
        failure = None
        self._under_way.add(request)
        try:
            self._check()
            request.open(offset, offset + len(memory))
            self._check()  # stop() would have found no stream until now
            while done < len(memory):
                with memory[done:] as rest:  # a stream that keeps it gets an error, not a write
                    count = request.readinto(rest)
                if not count:
                    break
                done += count
        except Exception as error:
            failure = error
        finally:
            self._under_way.discard(request)
            request.close()
        if done == len(memory):
            bucket.give()
            return
        try:
            self._check()
            with memory[done:] as rest:
                self._fetch_surely(rest, offset + done, request, failure)
        finally:
            del failure  # its traceback holds this frame

    def _fetch_surely(
        self,
        memory: memoryview,
        offset: int,
        failed: Request | None,
        failure: Exception | None,
    ) -> None:
        """Fill `memory`, past faults, of which one may have been met already."""
        stream = ResumingStream(self._source, offset, offset + len(memory))
        try:
            self._under_way.add(stream)
            self._check()
            if failed is not None:
                stream.go_on(offset, failure, failed)
            receive(stream, memory, tick=self._tick)
        finally:
            del failure
            stream.close()
            self._under_way.discard(stream)  # last: what an interrupt leaves open, stop() finds

    def _places(
        self, memory: memoryview, offset: int, start: int, stop: int, window: Window
    ) -> list[Place]:
        """Divide ``[start, stop)`` into parts; `memory` begins at `offset`."""
        size = stop - start
        connections = self._cursors.connections
        if connections > 1:
            size = self._cursors.even_part_size(size)
            if window.runs_on and self._cursors.reads_ahead and stop < self._size:
                # The reader waits, and will read on: the sooner it goes on, the sooner the window
                # is large.
                size = window.part_size(stop - start, connections, size)
        return [
            Place(at, [memory[at - offset : min(at + size, stop) - offset]])
            for at in range(start, stop, size)
        ]

    def _copy(self, part: AheadPart, memory: memoryview, offset: int, window: Window) -> None:
        """Fill `memory` from a part, as its bytes come."""
        done = 0
        size = min(len(memory), part.stop - offset)
        while done < size:
            lent = self._await(part, offset + done, offset + size, window)
            if lent is None:
                with memory[done:size] as rest:
                    self._fetch_here(rest, offset + done)
                return
            with lent, memory[done : done + len(lent)] as target:
                start = offset + done - part.start
                part.block.copy(start, start + len(lent), target)
                done += len(lent)

    # ---- what is lent ------------------------------------------------------------------------

    def borrow(self, offset: int) -> memoryview:
        """Lend bytes from `offset` on, one or more."""
        with self._changes.lock:
            self._check()
            window = self._cursors.enter(offset)
            there = self._cursors.held.at(offset)
            is_there = there is not None and offset < there.start + there.received
            if not is_there:
                window.waited()
            begun = self._cursors.read_ahead(self._source, window, self._size)
            part = self._cursors.held.at(offset)  # it may be one of these
            stop = offset + _LENT
            if part is not None and part.asked is not None:
                stop = offset + _LENT_OF_ASKED
                stop = min(part.asked.stop(offset) or stop, stop)
            flow = None if part is not None else self._take_flow(window, offset)
        self._run(begun)
        if not is_there:
            self._source.counters.stalled()
        lent = None
        if part is not None:
            lent = self._await(part, offset, stop, window)
        if lent is None:
            lent = self._bring(offset, flow, window)
        with self._changes.lock:
            window.lent(len(lent))
        self._tick()
        return lent

    def _bring(self, offset: int, flow: Flow | None, window: Window) -> memoryview:
        """Receive a block around `offset` on the thread of the caller; lend it from there on."""
        size = self._block_size(window)
        start, stop = offset, min(offset + size, self._size)
        is_lone = flow is None
        if flow is not None and not window.consumed:
            # A header, perhaps: what is taken of it tells what the next opening asks for.
            stop = min(stop, offset + _BLOCK)
        if flow is None:
            with self._changes.lock:
                start, stop = self._block_at(offset, size, window)
            end = stop
            if not self._cursors.reads_ahead and window.runs_on:
                end = min(start + min(2 * window.consumed, self._most or _LONGEST_FLOW), self._size)
                end, is_lone = max(end, stop), False
            flow = Flow(ResumingStream(self._source, start, end), start, end)
        stop = min(stop, flow.stop)
        block = BUDGET.take(stop - start)
        if block is None:
            with self._changes.lock:
                self._cursors.drop_kept()
            stop = min(stop, start + LEAST)
            block = BUDGET.take(stop - start, least=True)
            assert block is not None
        try:
            with block.view(0, stop - start, readonly=False) as view:
                # All of a small one, so that its connection is free again; of a long one what is
                # there, but more than the few bytes that come with the head.
                least = stop - start if is_lone else min(stop - start, _LEAST_PULLED)
                count = self._pull(flow, view, start, window, least=least)
        except BaseException:
            BUDGET.give(block)
            raise
        part = AheadPart(start, start + count, block, None, self._changes, window)
        part.received = count
        with self._changes.lock:
            lent = part.lend(offset, part.stop)
            assert lent is not None
            if not self._cursors.hold(part):
                BUDGET.give(block)  # others hold these bytes too: it is free when it is given back
        return lent

    def _block_size(self, window: Window) -> int:
        size = min(max(2 * _BLOCK, window.consumed), _LARGEST_BLOCK)
        # A buffer of a few bytes is not taken at its word: it would be a request for each of them.
        return size if self._most is None else min(size, max(self._most, _LEAST_PULLED))

    def _block_at(self, offset: int, size: int, window: Window) -> tuple[int, int]:
        """Where a block that is fetched for itself begins and ends."""
        start = offset
        if not window.consumed and size >= 2 * _BLOCK:
            # Not only the end of the blob: what is read there tells of an index before it.
            start = min(offset // _BLOCK * _BLOCK, max(0, self._size - size))
            start = min(offset, max(start, self._cursors.held.stop_before(offset)))
        stop = min(start + size, self._size)
        # Another thread may have begun a part here since we looked.
        behind = self._cursors.held.next_start(offset + 1)
        return start, stop if behind is None else min(stop, behind)

    # ---- the stream that a cursor pulls ------------------------------------------------------

    def _take_flow(self, window: Window, offset: int) -> Flow | None:
        """Take the cursor's stream, if a read at `offset` can use it."""
        flow = window.flow
        if flow is None or flow.is_busy or offset < flow.at:
            return None
        if offset < flow.stop and offset - flow.at <= self._cursors.hole:
            self._under_way.add(flow.stream)
            flow.is_busy = True
            return flow
        self._cursors.drop_flow(window)
        return None

    def _pull(
        self,
        flow: Flow,
        memory: memoryview,
        offset: int,
        window: Window,
        least: int | None = None,
    ) -> int:
        """Fill `memory`, or at least some of it, by the cursor's stream; keep that for the next."""
        is_kept = False
        try:
            self._under_way.add(flow.stream)
            self._check()
            skipped = offset - flow.at
            if skipped:
                receive_and_drop(flow.stream, skipped)
                self._source.counters.add(bytes_wasted=skipped)
                flow.at = offset
            count = receive(flow.stream, memory, least, self._tick)
            flow.at += count
            is_kept = flow.at < flow.stop
        finally:
            with self._changes.lock:
                is_kept = self._cursors.settle_flow(window, flow, is_kept)
            if not is_kept:
                flow.stream.close()
            self._under_way.discard(flow.stream)
        return count

    # ---- many ranges -------------------------------------------------------------------------

    def readinto_ranges(self, offsets: Sequence[int], buffers: Sequence[memoryview]) -> None:
        """Fill each buffer from its offset on."""
        self._check()
        parts = plan(
            offsets,
            [len(buffer) for buffer in buffers],
            size=self._size,
            hole=self._link.hole,
            part_size=self._cursors.part_size(sum(map(len, buffers))),
        )
        self._fill([_place(part, buffers) for part in parts], many=True)
        for part in parts:
            for copy in part.copies:
                _copy_again(copy, buffers)
        self._tick()

    def prefetch(self, offsets: Sequence[int], sizes: Sequence[int]) -> None:
        """Begin to bring what will be asked for."""
        begun: list[AheadPart] = []
        size = self._cursors.part_size(sum(sizes))
        parts = plan(offsets, sizes, size=self._size, hole=self._link.hole, part_size=size)
        with self._changes.lock:
            self._check()
            gaps = [
                part.wanted.between(start, stop)
                for part in parts
                for start, stop in self._cursors.held.gaps(part.start, part.stop)
            ]
            for pieces in filter(None, gaps):
                asked = Asked([(piece.start, piece.stop) for piece in pieces])
                start, stop = pieces[0].start, pieces[-1].stop
                ahead = self._cursors.part(self._source, start, stop, None, asked)
                if ahead is None:
                    break
                begun.append(ahead)
        self._run(begun)

    # ---- what is under way -------------------------------------------------------------------

    def stop(self) -> None:
        """End all of it, and hold nothing; it may be called from any thread."""
        with self._changes.lock:
            self._is_stopped = True
            self._cursors.drop_all()
            under_way = list(self._under_way)
            self._changes.tell()
        for one in under_way:
            if isinstance(one, Fill):
                one.leave()
            elif isinstance(one, Request):
                one.interrupt()
            else:
                one.close()
        self._sweep()

    def drop_idle(self, since: float) -> bool:
        """Give back the memory of cursors that did nothing since then; whether others have some."""
        with self._changes.lock:
            has_more = self._cursors.drop_idle(since)
        self._sweep()
        return has_more

    def _check(self) -> None:
        if self._is_stopped:
            raise ValueError("I/O operation on closed file.")

    def _run(self, begun: Sequence[AheadPart]) -> None:
        if begun and _logger.isEnabledFor(logging.DEBUG):
            _logger.debug(
                "%s: reads ahead bytes %d to %d of %r in %d parts",
                self._source.driver.name,
                begun[0].start,
                begun[-1].stop,
                self._source.shown,
                len(begun),
            )
        for part in begun:
            PARTS.run_soon(part.run)
        if self._cursors.dropped:
            self._sweep()

    def _sweep(self) -> None:
        """End what nobody wants any more."""
        dropped = self._cursors.dropped
        for one in list(dropped):
            if isinstance(one, AheadPart):
                one.end()
            else:
                one.close()
            with suppress(ValueError):  # another thread was faster
                dropped.remove(one)

    def _fill(
        self,
        places: Sequence[Place],
        bring_rest: Callable[[], object] | None = None,
        *,
        many: bool = False,
    ) -> None:
        """Bring all places on workers, and meanwhile on this thread what they leave out."""

        def connections() -> int:
            return self.small_connections if many else self._cursors.connections

        fill = Fill(self._source, places, connections)
        interrupt = None
        try:
            self._under_way.add(fill)
            self._check()  # now that stop() would find it
            fill.begin()
            if bring_rest is not None:
                bring_rest()
            fill.wait(self._on_progress and self._tick)
        finally:
            # No call, and no context manager in Python, is between its start and this: an
            # interrupt there would leave workers that write into memory which is no longer ours.
            while True:
                try:
                    fill.leave()
                    self._under_way.discard(fill)
                    break
                except BaseException as error:
                    interrupt = error
            if interrupt is not None:
                try:
                    raise interrupt
                finally:
                    del interrupt

    def _await(self, part: AheadPart, start: int, stop: int, window: Window) -> memoryview | None:
        """Wait for bytes of a part and lend them; None: it failed, or was given up."""
        is_late = False
        while True:
            with self._changes.lock:
                self._check()
                lent = part.lend(start, stop)
                if lent is not None or part.is_dropped:
                    return lent
                if not part.is_running or (is_late and not part.is_begun):
                    self._cursors.drop(part)
                    return None
                waiter = self._changes.waiter()
            # One that is not begun waits in vain where all workers hang, or if it was lost to an
            # interrupt. Its bytes are fetched here then.
            is_late = not waiter.acquire(-1 if part.is_begun else _PATIENCE)

    @property
    def small_connections(self) -> int:
        """How many small requests to have under way."""
        return self._cursors.parallel or max(self._link.connections, self._link.small_connections)

    def _tick(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._source.counters.bytes_fetched, self._size)


def _place(part: Part, buffers: Sequence[memoryview]) -> Place:
    """Where the bytes of a part go, with the holes between."""
    targets: list[memoryview | int] = []
    at = part.start
    for which, offset, start, stop in part.pieces:
        if start > at:
            targets.append(start - at)
        targets.append(buffers[which][offset : offset + stop - start])
        at = stop
    return Place(part.start, targets)


def _copy_again(copy: Copy, buffers: Sequence[memoryview]) -> None:
    """Give a range what it shares with another one."""
    which, offset, source, source_offset, length = copy
    with buffers[source][source_offset : source_offset + length] as shared:
        buffers[which][offset : offset + length] = shared
