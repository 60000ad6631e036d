"""How the rate of a connection falls when more of them are used, and so how many to use."""

from collections import deque
from collections.abc import Iterable
from math import log2
from statistics import median

__all__ = ["FAST", "MOST", "Sharing"]

# 85 to 90 MB/s is what S3 gives one connection (AWS's guide to performance), so that this many
# fill 25 Gbit/s. What gets slower with them is found out.
MOST = 32
FAST = 500e6  # bytes/s for one connection: few fill the machine, and each costs it CPU
_ENOUGH = 0.95  # of the best total
_MARGIN = 1.25  # one connection that stalls leaves the link full
_SAMPLES = 15  # per level: with rates that vary by 30 % the mean is good to 8 %
_TRUSTED = 6  # samples that a level says nothing without
_SETTLED = 64  # samples of a level, and twice, four times ... as many, after which more are tried
_UNTRIED = 256  # samples after which fewer are tried, where nothing is known of them
_NEARLY = 0.2  # of the connections, more or less: a level was followed
_NEARLY_ALL = 0.8  # what may be saved is less than a wrong guess would cost
_STEP = 0.7  # so that the next level below is met


class Sharing:
    """What was seen at each number of connections that transferred at the same time.

    The levels are half an octave apart. What is old misleads until the number of connections that
    it recommends has been tried, and no longer: a level that is followed hears of what came of it,
    also where fewer or more of the connections than before are now past their first byte.
    """

    __slots__ = ("_answer", "_followed", "_levels", "_seen")

    def __init__(self) -> None:
        self._levels: dict[int, deque[tuple[float, float, float]]] = {}
        self._seen: dict[int, int] = {}
        self._followed: tuple[int, float] | None = None  # level, and its connections
        self._answer: int | None = None  # of what was noted so far; -1: to be found

    def note(self, connections: float, active: float, rate: float) -> None:
        """Note how fast one connection was.

        Parameters
        ----------
        connections : float
            How many were in use on average, this one included.
        active : float
            How many of them were past their first byte.
        rate : float
            Bytes per second of this one, from its first byte on.
        """
        levels = {round(2 * log2(max(active, 1.0)))}
        if self._followed and abs(connections / self._followed[1] - 1) < _NEARLY:
            levels.add(self._followed[0])
        for level in levels:
            if level not in self._levels:
                self._levels[level] = deque(maxlen=_SAMPLES)
            self._levels[level].append((connections, active, rate))
            self._seen[level] = seen = self._seen.get(level, 0) + 1
            if seen >= _SETTLED and seen & (seen - 1) == 0:
                # More may help by now, or was judged by bad luck. That fewer do is seen anyhow: a
                # read begins and ends with few.
                for above in [one for one in self._levels if one > level]:
                    del self._levels[above], self._seen[above]
        self._answer = -1

    def alone(self) -> float | None:
        """Return the bytes per second of one connection without others; None: unknown."""
        rates = [rate for level in (0, 1) for _, _, rate in self._levels.get(level, ())]
        return median(rates) if rates else None

    def connections(self) -> int | None:
        """Return how many connections to use, 1 to `MOST`; None: unknown.

        The fewest of all levels that reach nearly the best total, and of those no more than
        what the rate one level below promises: ``total / rate``. So a link that no number of
        connections fills gets `MOST`, and one of 100 MB/s with 50 MB/s for one gets 2.5.
        """
        if self._answer == -1:
            self._answer = self._weigh()
        return self._answer

    def _weigh(self) -> int | None:
        levels = [
            (level, *_trimmed_means(samples))
            for level, samples in sorted(self._levels.items())
            if len(samples) >= _TRUSTED
        ]
        if not levels:
            return None
        totals = [active * rate for _, _, active, rate in levels]
        best = max(totals)
        at = next(i for i, total in enumerate(totals) if total >= _ENOUGH * best)
        level, connections, active, rate = levels[at]
        self._followed = level, connections
        share = 1.0
        if at > 0:
            share = min(1.0, _MARGIN * best / levels[at - 1][3] / active)
        elif active > 1.5 and self._seen[level] >= _UNTRIED:
            share = _STEP
        if at == len(levels) - 1 and share == 1.0:
            if rate < FAST:
                return MOST  # nothing is known of more
            share = 1.5
        count = max(1, round(share * connections))
        return count if count < _NEARLY_ALL * MOST else MOST


def _trimmed_means(samples: Iterable[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Return the means without the smallest and the largest: one outlier each way is no matter."""
    columns = [sorted(column)[1:-1] for column in zip(*samples, strict=True)]
    connections, active, rate = (sum(column) / len(column) for column in columns)
    return connections, active, rate
