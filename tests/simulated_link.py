"""A link made of arithmetic: connections that share it, on a clock that only this moves."""

import random

from blobread.transfer.link import Link


class SimulatedLink:
    """Each connection transfers at `rate`, all of them at no more than `total`, in bytes/s.

    `noise` is the standard deviation of the logarithm of each request's TTFB and rate.
    """

    def __init__(
        self, *, ttfb: float, rate: float, total: float = 1e15, noise: float = 0.0, seed: int = 1
    ) -> None:
        self.now = 0.0
        self.ttfb, self.rate, self.total, self.noise = ttfb, rate, total, noise
        self.random = random.Random(seed)
        self.link = Link("simulated", clock=lambda: self.now)

    def vary(self, value: float) -> float:
        return value * self.random.lognormvariate(0.0, self.noise)

    def request(self, count: int) -> None:
        """One request, alone."""
        self.read(count, count, 1)

    def read(self, wanted: int, part: int | None = None, connections: int | None = None) -> float:
        """Read as the engine does, in parts; return the seconds that it took."""
        began, left = self.now, wanted
        waiting: list[tuple[float, float, int]] = []  # until, TTFB, count
        moving: list[list[float]] = []  # bytes left, rate alone, TTFB, since, count
        while left or waiting or moving:
            while left and len(waiting) + len(moving) < (connections or self.link.connections):
                count = min(left, part or self.link.part_size(wanted))
                left -= count
                first = self.vary(self.ttfb)
                self.link.started()
                waiting.append((self.now + first, first, count))
            wish = sum(one[1] for one in moving)
            share = min(1.0, self.total / wish) if wish else 1.0
            ends = [self.now + one[0] / (one[1] * share) for one in moving]
            then = min(ends + [one[0] for one in waiting])
            for one in moving:
                one[0] -= one[1] * share * (then - self.now)
            self.now = then
            for one in [one for one in moving if one[0] < 1e-3]:
                moving.remove(one)
                self.link.finished(one[2], int(one[4]), self.now - one[3])
            for wait in [wait for wait in waiting if wait[0] <= then]:
                waiting.remove(wait)
                moving.append([wait[2], self.vary(self.rate), wait[1], then, wait[2]])
        return self.now - began
