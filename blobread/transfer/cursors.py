"""The cursors of one reader: which of them a read belongs to, and what is read ahead of each."""

import time

from .ahead import AheadPart
from .asked import Asked
from .budget import BUDGET
from .changes import Changes
from .counters import Counters
from .held import Held
from .link import Link
from .resume import ResumingStream
from .source import Source
from .window import SMALLEST_PART, Flow, Window

__all__ = ["Cursors"]

_MOST_CURSORS = 16
_STEP = 64 * 1024
_SHORTEST = 1024 * 1024  # as Link.part_size has it
_LOOKS = 0.02  # seconds between two looks at the link
_MOST_AHEAD = 128 * 1024 * 1024
_KEPT = 64 * 1024  # a part behind a cursor is kept for those who look back, if it is so small
_MOST_KEPT = 8  # of them


class Cursors:
    """Cursors and the parts held for them; all of it is to be called under the engine's lock.

    Parameters
    ----------
    changes : Changes
    link : Link
    counters : Counters
    parallel : int or None
        Connections to use, instead of as many as the link is good for.
    buffer_size : int or None
        The most bytes to hold ahead.

    Attributes
    ----------
    held : Held
    dropped : list
        Parts and streams that nobody wants any more: to be ended by `sweep`, without the lock.
    """

    def __init__(
        self,
        changes: Changes,
        link: Link,
        counters: Counters,
        parallel: int | None,
        buffer_size: int | None,
    ) -> None:
        self.held = Held()
        self.dropped: list[AheadPart | ResumingStream] = []
        self._changes = changes
        self._link = link
        self._counters = counters
        self.parallel = parallel
        self._most = _MOST_AHEAD if buffer_size is None else buffer_size
        self._windows: list[Window] = []  # the one used last comes first
        self._reads = 0
        self._next_look = 0.0
        self._connections = 1
        self._hole = 0
        self._reads_ahead = False

    @property
    def connections(self) -> int:
        """How many connections to use."""
        self._look()
        return self._connections

    @property
    def reads_ahead(self) -> bool:
        """Whether to read ahead of cursors that run on, rather than have each pull one stream."""
        self._look()
        return self._reads_ahead

    def part_size(self, wanted: int) -> int:
        """How many bytes to ask for at once, of so many."""
        return self._link.part_size(wanted, self.parallel)

    def even_part_size(self, wanted: int) -> int:
        """The same, or less, so that all connections are done at about the same time."""
        size = self.part_size(wanted)
        connections = self.connections
        rounds = -(-wanted // (size * connections))
        even = -(-wanted // (connections * rounds))
        return min(size, max(_STEP * -(-even // _STEP), _SHORTEST)) if rounds > 1 else size

    @property
    def hole(self) -> int:
        """Bytes that cost less to read through than a request does."""
        self._look()
        return self._hole

    def _look(self) -> float:
        """Look at the link, now and then: what it knows changes slowly, and each read asks."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOKS
            self._connections = self.parallel or self._link.connections
            self._hole = self._link.hole
            self._reads_ahead = self._connections > 1 and (
                self.parallel is not None or not self._link.is_fast
            )
        return now

    def enter(self, offset: int) -> Window:
        """The cursor that a read at `offset` belongs to, moved there; else a new one."""
        now = self._look()
        self._reads += 1
        part = self.held.at(offset) if len(self.held) else None
        found = None
        is_hop = False
        for window in self._windows:
            skipped = offset - window.next
            is_hop = 0 < skipped <= self._hole and (window.runs_on or window is self._windows[0])
            if skipped == 0 or is_hop:
                found = window
                break
        if found is None and part is not None and part.owner in self._windows:
            found = part.owner  # it looks back, or far ahead
        if found is None:
            if len(self._windows) >= _MOST_CURSORS:
                self._leave(self._windows[-1])
            found = Window(offset)
        if not self._windows or found is not self._windows[0]:
            self._windows = [found, *[one for one in self._windows if one is not found]]
        found.arrive(offset, is_hop)
        if found.flow is not None or (len(self.held) and (part is None or part is not found.part)):
            found.part = part
            self._retire(found)
        found.read_as = self._reads
        found.touched = now
        if len(self.held):
            self._give_up_left()
        return found

    def opened(self, flow: Flow) -> None:
        """Take in the stream that came with the info, for the first read from its start on."""
        window = Window(flow.at)
        window.touched = time.monotonic()
        window.flow = flow
        window.ahead_to = flow.stop
        self._windows.insert(0, window)

    def read_ahead(self, source: Source, window: Window, size: int) -> list[AheadPart]:
        """Plan the parts ahead of a cursor that runs on; they are to be run without the lock."""
        if not self._reads_ahead or not window.runs_on or window.ahead_to >= size:
            return []
        if self._is_told(window):
            return []
        last = self.held.at(window.ahead_to - 1)
        if last is not None and not last.is_running:
            window.is_full()
        reach = window.reach(self._most)
        limit = min(size, window.next + reach)
        if window.ahead_to + SMALLEST_PART > limit < size:
            return []
        connections = self._connections
        part_size = window.part_size(reach, connections, self.part_size(reach))
        begun: list[AheadPart] = []
        while True:
            start = window.ahead_to
            there = self.held.at(start)
            if there is not None:
                window.ahead_to = there.stop
                continue
            stop = min(start + part_size, size, self.held.next_start(start) or size)
            if start >= size or stop > limit:
                return begun
            part = self.part(source, start, stop, window)
            if part is None:
                return begun
            window.ahead_to = stop
            begun.append(part)

    def _is_told(self, window: Window) -> bool:
        """Whether it was said that a cursor would be there: nothing has to be guessed."""
        near = self.held.between(window.next - 1, window.next + 1)
        return any(part.asked is not None for part in near)

    def part(
        self,
        source: Source,
        start: int,
        stop: int,
        owner: Window | None,
        asked: Asked | None = None,
    ) -> AheadPart | None:
        """Make a part to be read ahead, if there is memory for it."""
        block = BUDGET.take(stop - start, holding=self.held.size)
        if block is None:
            return None
        stream = ResumingStream(source, start, stop)
        part = AheadPart(start, stop, block, stream, self._changes, owner, asked)
        self.held.add(part)
        return part

    def hold(self, part: AheadPart) -> bool:
        """Hold a part that was received already, unless others have its bytes."""
        if part.owner not in self._windows or self.held.between(part.start, part.stop):
            return False
        self.held.add(part)
        return True

    def settle_flow(self, window: Window, flow: Flow, is_wanted: bool) -> bool:
        """Keep a stream for the next read of a cursor, if that is still there and has none."""
        flow.is_busy = False
        is_kept = is_wanted and window in self._windows and window.flow in (None, flow)
        if is_kept:
            window.flow = flow
            window.ahead_to = max(window.ahead_to, flow.stop)
        elif window.flow is flow:
            window.flow = None
        return is_kept

    def drop(self, part: AheadPart) -> None:
        """Hold a part no longer."""
        # In this order an interrupt on the way leaves it held, to be dropped once more.
        part.is_dropped = True
        if part.is_running:
            self.dropped.append(part)
        if not part.block.is_given_back:
            self._counters.add(bytes_wasted=part.received - part.used)
            BUDGET.give(part.block)
        self.held.remove(part)

    def drop_flow(self, window: Window) -> None:
        """Leave the stream that a cursor pulls."""
        flow = window.flow
        if flow is not None and not flow.is_busy:  # else the thread that is in it will see to it
            self.dropped.append(flow.stream)
        window.flow = None

    def drop_all(self) -> None:
        """Hold nothing."""
        for window in self._windows:
            if window.flow is not None:
                self.dropped.append(window.flow.stream)
                window.flow = None
        for part in self.held:
            self.drop(part)
        self._windows.clear()

    def drop_kept(self) -> None:
        """Hold only what is still to be read."""
        for part in self.held:
            if not part.is_running and part.used and part.asked is None:
                self.drop(part)

    def drop_idle(self, since: float) -> bool:
        """Give back the memory of cursors not used since then; whether others have some."""
        for window in [one for one in self._windows if one.touched < since]:
            self._leave(window)
        owners = {part.owner for part in self.held}
        return any(one.flow is not None or one in owners for one in self._windows)

    def _give_up_left(self) -> None:
        """Give up reading ahead of cursors that the reader has left.

        Readers that go to and fro between a few places come back to each before they have been
        everywhere else twice.
        """
        running = [one for one in self._windows if one.ahead_to > one.next]
        for window in running:
            if self._reads - window.read_as > len(running):
                self._leave(window)

    def _leave(self, window: Window) -> None:
        self.drop_flow(window)
        if len(self.held):
            for part in self.held:
                if part.owner is window:
                    self.drop(part)
        self._windows.remove(window)  # last: what is interrupted before that can still be dropped

    def _retire(self, window: Window) -> None:
        """Let go of parts that the cursor has passed, but a few small ones."""
        if window.flow is not None and window.flow.stop <= window.next:
            self.drop_flow(window)
        kept = 0
        for part in reversed(list(self.held)):
            if part.asked is not None and part.asked.is_read:
                self.drop(part)
            if part.owner is not window or part.stop > window.passed:
                continue
            kept += 1
            if kept > _MOST_KEPT or part.stop - part.start > _KEPT:
                self.drop(part)
