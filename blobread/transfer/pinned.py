"""One version of a blob, as one reader reads it: what is asked for meets what is held ahead."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from ..driver import BlobInfo, RawStream
from .ahead import AheadPart
from .budget import BUDGET, LEAST
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

_BLOCK = 16 * 1024  # a lone small read is aligned to it, and takes two
_LARGEST_BLOCK = 256 * 1024
_LENT = 1024 * 1024  # at most, so that it is seen where the reader is
_WHOLE = 1024 * 1024  # of the bytes of a read that are one part in any case
_OPENING = 256 * 1024  # of a first stream that does not say where it ends, no more is used
_LONGEST_FLOW = 128 * 1024 * 1024


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
        self._changed = threading.Condition(threading.Lock())
        self._cursors = Cursors(self._changed, self._link, source.counters, parallel, buffer_size)
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
        with self._changed:
            self._check()
            window = self._cursors.enter(offset)
            part = self._cursors.held.at(offset)
            if part is not None and stop <= part.start + part.received:
                lent = part.lend(offset, stop)
            else:
                held = self._cursors.held.between(offset, stop)
                flow = self._take_flow(window, offset) if part is None else None
            window.read(len(memory))
            begun = self._cursors.read_ahead(self._source, window, self._size)
        self._run(begun)
        if part is not None and lent is not None:
            with lent:
                part.block.copy(offset - part.start, stop - part.start, memory)
        elif held or flow is not None:
            self._gather(memory, offset, held, flow, window)
        else:
            self._fetch(memory, offset, window)
        self._tick()
        return len(memory)

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
                places += self._places(memory, offset, at, part.start)
            at = max(at, part.stop)
        if at < stop:
            places += self._places(memory, offset, at, stop)
        with self._filling(places) as fill:
            if flow is not None:
                self._pull(flow, memory[: pulled - offset], offset, window)
            for part in held:
                start = max(part.start, offset)
                self._copy(part, memory[start - offset : part.stop - offset], start, window)
            fill.wait(self._on_progress and self._tick)

    def _fetch(self, memory: memoryview, offset: int, window: Window) -> None:
        """Fill `memory` with bytes of which none are held."""
        self._note_wait(window)
        stop = offset + len(memory)
        if self._cursors.connections < 2:
            if window.runs_on:
                # One connection is enough: the fewer requests the better, as many as were read.
                longer = offset + min(2 * window.consumed, self._most or _LONGEST_FLOW)
                stop = min(max(stop, longer), self._size)
            flow = Flow(ResumingStream(self._source, offset, stop), offset, stop)
            self._pull(flow, memory, offset, window)
            return
        if len(memory) <= _WHOLE:
            self._fetch_here(memory, offset)
            return
        places = self._places(memory, offset, offset, stop)
        if len(places) == 1:
            self._fetch_here(memory, offset)
            return
        with self._filling(places) as fill:
            fill.wait(self._on_progress and self._tick)

    def _fetch_here(self, memory: memoryview, offset: int) -> None:
        """Fill `memory` by one request, on the thread of the caller."""
        stream = ResumingStream(self._source, offset, offset + len(memory))
        if self._source.is_lazy and self._fetch_plainly(memory, offset, stream):
            return
        with self._pulling(stream):
            try:
                receive(stream, memory[stream.position - offset :], tick=self._tick)
            finally:
                stream.close()

    def _fetch_plainly(self, memory: memoryview, offset: int, stream: ResumingStream) -> bool:
        """Try it without what makes a stream survive faults; have that go on where this fails.

        Small reads all over a blob come by here, and to get ready for faults costs as much as the
        rest. The memory is safe: only this thread writes into it.
        """
        request = Request(self._source)
        done = 0
        failure = None
        self._under_way.add(request)
        try:
            self._check()
            request.open(offset, offset + len(memory))
            self._check()  # stop() would have found no stream until now
            while done < len(memory) and (count := request.readinto(memory[done:])):
                done += count
        except Exception as error:
            failure = error
        finally:
            self._under_way.discard(request)
            request.close()
        if done == len(memory):
            bucket.give()
            return True
        self._check()
        stream.go_on(offset + done, failure, request)
        return False

    def _places(self, memory: memoryview, offset: int, start: int, stop: int) -> list[Place]:
        """Divide ``[start, stop)`` into parts; `memory` begins at `offset`."""
        size = stop - start
        if self._cursors.connections > 1:
            size = self._link.part_size(size)
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
                self._fetch_here(memory[done:size], offset + done)
                return
            with lent:
                start = offset + done - part.start
                part.block.copy(start, start + len(lent), memory[done : done + len(lent)])
                done += len(lent)

    # ---- what is lent ------------------------------------------------------------------------

    def borrow(self, offset: int) -> memoryview:
        """Lend bytes from `offset` on, one or more."""
        with self._changed:
            self._check()
            window = self._cursors.enter(offset)
            begun = self._cursors.read_ahead(self._source, window, self._size)
            part = self._cursors.held.at(offset)
            flow = None if part is not None else self._take_flow(window, offset)
        self._run(begun)
        lent = None
        if part is not None:
            lent = self._await(part, offset, offset + _LENT, window)
        if lent is None:
            self._note_wait(window)
            lent = self._bring(offset, flow, window)
        with self._changed:
            window.lent(len(lent))
        self._tick()
        return lent

    def _bring(self, offset: int, flow: Flow | None, window: Window) -> memoryview:
        """Receive a block around `offset` on the thread of the caller; lend it from there on."""
        start, stop = offset, min(offset + self._block_size(window), self._size)
        is_lone = flow is None
        if flow is None:
            with self._changed:
                start, stop = self._block_at(offset, stop - start, window)
            end = stop
            if self._cursors.connections < 2 and window.runs_on:
                end = min(start + min(2 * window.consumed, self._most or _LONGEST_FLOW), self._size)
                end, is_lone = max(end, stop), False
            flow = Flow(ResumingStream(self._source, start, end), start, end)
        stop = min(stop, flow.stop)
        block = BUDGET.take(stop - start)
        if block is None:
            with self._changed:
                self._cursors.drop_kept()
            stop = min(stop, start + LEAST)
            block = BUDGET.take(stop - start, least=True)
            assert block is not None
        try:
            with block.view(0, stop - start, readonly=False) as view:
                # All of a small one, so that its connection is free again; of a long one what is
                # there.
                least = stop - start if is_lone else offset + 1 - start
                count = self._pull(flow, view, start, window, least=least)
        except BaseException:
            BUDGET.give(block)
            raise
        part = AheadPart(start, start + count, block, None, self._changed, window)
        part.received = count
        with self._changed:
            lent = part.lend(offset, part.stop)
            assert lent is not None
            if not self._cursors.hold(part):
                BUDGET.give(block)  # others hold these bytes too: it is free when it is given back
        return lent

    def _block_size(self, window: Window) -> int:
        size = min(max(2 * _BLOCK, window.consumed), _LARGEST_BLOCK)
        return size if self._most is None else min(size, self._most)

    def _block_at(self, offset: int, size: int, window: Window) -> tuple[int, int]:
        """Where a block that is fetched for itself begins and ends."""
        start = offset
        if not window.consumed and size >= 2 * _BLOCK:
            start = max(offset // _BLOCK * _BLOCK, self._cursors.held.stop_before(offset))
        stop = min(start + size, self._size)
        behind = self._cursors.held.next_start(offset)
        return start, stop if behind is None else min(stop, behind)

    # ---- the stream that a cursor pulls ------------------------------------------------------

    def _take_flow(self, window: Window, offset: int) -> Flow | None:
        """Take the cursor's stream, if a read at `offset` can use it."""
        flow = window.flow
        if flow is None or flow.is_busy or offset < flow.at:
            return None
        if offset < flow.stop and offset - flow.at <= self._cursors.hole:
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
            with self._pulling(flow.stream):
                skipped = offset - flow.at
                if skipped:
                    receive_and_drop(flow.stream, skipped)
                    self._source.counters.add(bytes_wasted=skipped)
                    flow.at = offset
                count = receive(flow.stream, memory, least, self._tick)
                flow.at += count
                is_kept = flow.at < flow.stop
        finally:
            with self._changed:
                is_kept = self._cursors.settle_flow(window, flow, is_kept)
            if not is_kept:
                flow.stream.close()
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
            part_size=self._link.part_size(sum(map(len, buffers))),
        )
        with self._filling([_place(part, buffers) for part in parts], many=True) as fill:
            fill.wait(self._on_progress and self._tick)
        for part in parts:
            for copy in part.copies:
                _copy_again(copy, buffers)

    def prefetch(self, offsets: Sequence[int], sizes: Sequence[int]) -> None:
        """Begin to bring what will be asked for."""
        begun: list[AheadPart] = []
        size = self._link.part_size(sum(sizes))
        parts = plan(offsets, sizes, size=self._size, hole=self._link.hole, part_size=size)
        with self._changed:
            self._check()
            for part in parts:
                if not self._cursors.held.between(part.start, part.stop):
                    ahead = self._cursors.part(self._source, part.start, part.stop, None)
                    if ahead is None:
                        break
                    begun.append(ahead)
        self._run(begun)

    # ---- what is under way -------------------------------------------------------------------

    def stop(self) -> None:
        """End all of it, and hold nothing; it may be called from any thread."""
        with self._changed:
            self._is_stopped = True
            self._cursors.drop_all()
            under_way = list(self._under_way)
            self._changed.notify_all()
        for one in under_way:
            if isinstance(one, Fill):
                one.leave()
            elif isinstance(one, Request):
                one.interrupt()
            else:
                one.close()
        self._sweep()

    def drop_idle(self, since: float) -> None:
        """Give back the memory of cursors that did nothing since then."""
        with self._changed:
            self._cursors.drop_idle(since)
        self._sweep()

    def _check(self) -> None:
        if self._is_stopped:
            raise ValueError("I/O operation on closed file.")

    def _run(self, begun: Sequence[AheadPart]) -> None:
        for part in begun:
            PARTS.run_soon(part.run)
        if self._cursors.dropped:
            self._sweep()

    def _sweep(self) -> None:
        """End what nobody wants any more."""
        with self._changed:
            dropped, self._cursors.dropped = self._cursors.dropped, []
        for one in dropped:
            if isinstance(one, AheadPart):
                one.end()
            else:
                one.close()

    @contextmanager
    def _filling(self, places: Sequence[Place], *, many: bool = False) -> Iterator[Fill]:
        def connections() -> int:
            return self.small_connections if many else self._cursors.connections

        fill = Fill(self._source, places, connections)
        self._under_way.add(fill)
        try:
            self._check()  # now that stop() would find it
            with fill:
                yield fill
        finally:
            self._under_way.discard(fill)

    @contextmanager
    def _pulling(self, stream: ResumingStream) -> Iterator[None]:
        self._under_way.add(stream)
        try:
            self._check()
            yield
        finally:
            self._under_way.discard(stream)

    def _await(self, part: AheadPart, start: int, stop: int, window: Window) -> memoryview | None:
        """Wait for bytes of a part and lend them; None: it failed, or was given up."""
        with self._changed:
            if part.start + part.received <= start:
                window.waited()
                self._source.counters.add(stalls=1)
            while part.start + part.received <= start and part.is_running:
                if part.is_dropped:
                    break
                self._changed.wait()
            self._check()
            lent = part.lend(start, stop)
            if lent is None and not part.is_dropped:
                self._cursors.drop(part)
            return lent

    def _note_wait(self, window: Window) -> None:
        with self._changed:
            window.waited()
        self._source.counters.add(stalls=1)

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
    shared = buffers[source][source_offset : source_offset + length]
    buffers[which][offset : offset + length] = shared
