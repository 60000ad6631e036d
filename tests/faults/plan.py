"""What shall go wrong, when, and the ledger of what did."""

import inspect
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .request import Request

__all__ = ["EVER", "KINDS", "Fault", "Firing", "Kind", "Ledger", "Phase", "When", "kind"]

EVER = math.inf

# The moment of an exchange at which a fault acts: a connection is accepted; a request was read;
# the honest answer is ready; its head is rendered; byte `at` of the wire is reached.
Phase = Literal["connect", "request", "answer", "head", "wire"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault; `number` is its row in the project's catalogue of 68 faults."""

    name: str
    number: int
    phase: Phase
    apply: Callable[..., Any]
    signature: inspect.Signature


KINDS: dict[str, Kind] = {}


def kind(phase: Phase, number: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the kind of fault that has its name.

    It is called with the exchange (in the phase "connect": with the connection) and with the
    fault's own parameters. In the phase "head" it takes and returns the bytes as well.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        if name in KINDS:
            raise ValueError(f"there are two kinds of fault named {name!r}")
        KINDS[name] = Kind(name, number, phase, function, inspect.signature(function))
        return function

    return register


@dataclass(frozen=True, slots=True)
class When:
    """Which requests a fault is for: those that all the given conditions hold for."""

    nth: int | None = None  # the n-th request of the case, from 1 on
    after: int = 0  # any request after the n-th
    method: str | None = None
    covers: int | None = None  # a position that the asked range has
    connection: int | None = None  # the n-th connection of the origin, from 1 on
    host: str | None = None  # "127.0.0.1:port" of the origin asked
    header: str | None = None  # the request has a header of this name

    def holds(self, request: Request) -> bool:
        return (
            (self.nth is None or request.nth == self.nth)
            and request.nth > self.after
            and (self.method is None or request.method == self.method)
            and (self.covers is None or request.covers(self.covers))
            and (self.connection is None or request.connection == self.connection)
            and (self.host is None or request.origin == self.host)
            and (self.header is None or request.header(self.header) is not None)
        )


ALWAYS = When()


class Fault:
    """A fault of one kind, with its parameters, and for which requests and how often it acts.

    Parameters
    ----------
    name : str
        A kind, of `KINDS`.
    at : int, optional
        For the phase "wire": the position at which it acts, counted in bytes on the wire from
        the end of the head (so -1 is the last byte of the head); None is the end of the answer.
    when : When
    times : int or EVER
    **params
        What the kind takes.
    """

    __slots__ = ("at", "kind", "params", "times", "when")

    def __init__(
        self,
        name: str,
        *,
        at: int | None = None,
        when: When = ALWAYS,
        times: float = 1,
        **params: Any,
    ) -> None:
        self.kind = KINDS[name]
        if at is not None and self.kind.phase != "wire":
            raise TypeError(f"fault {name!r} acts on no position")
        # A wrong name must fail here, and not in a thread of the server.
        given = (None, None) if self.kind.phase == "head" else (None,)
        self.kind.signature.bind(*given, **params)
        self.at = at
        self.when = when
        self.times = times
        self.params = params

    def __repr__(self) -> str:
        params = "".join(f", {name}={value!r}" for name, value in self.params.items())
        at = "" if self.at is None else f", at={self.at}"
        return f"Fault({self.kind.name!r}{at}{params})"


@dataclass(frozen=True, slots=True)
class Firing:
    """A fault that has acted; on no request, if it acted on a connection."""

    fault: Fault
    request: Request | None


@dataclass(slots=True)
class Ledger:
    """What was asked, and which faults have acted, in order."""

    requests: list[Request] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, request: Request) -> Request:
        """Write down a request, and give it its number."""
        with self._lock:
            request = replace(request, nth=len(self.requests) + 1)
            self.requests.append(request)
            return request

    def take(self, fault: Fault, request: Request | None) -> bool:
        """Write down that `fault` acts now; False if it has done so often enough."""
        with self._lock:
            if not self.left(fault):
                return False
            self.firings.append(Firing(fault, request))
            return True

    def left(self, fault: Fault) -> bool:
        """Tell whether `fault` may act once more."""
        return self.count(fault) < fault.times

    def count(self, fault: Fault) -> int:
        """Tell how often `fault` has acted."""
        return sum(firing.fault is fault for firing in self.firings)
