"""A request, as the fault server read it."""

import re
from dataclasses import dataclass

__all__ = ["Request", "parse_request"]

CLOSED_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `nth` counts those of its case, `connection` those of its origin, from 1 on."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    origin: str
    connection: int
    nth: int = 0

    def header(self, name: str) -> str | None:
        """Give the value of the first header of that name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def asked(self) -> tuple[int, int] | None:
        """The closed range asked for, as ``(first, last)``."""
        found = CLOSED_RANGE.fullmatch(self.header("Range") or "")
        return (int(found[1]), int(found[2])) if found else None

    @property
    def is_last(self) -> bool:
        """The client wants the connection closed after the answer."""
        return (self.header("Connection") or "").lower() == "close"

    def covers(self, position: int) -> bool:
        asked = self.asked
        return asked is None or asked[0] <= position <= asked[1]


def parse_request(head: bytes, origin: str, connection: int) -> Request:
    """Take a request apart; the clients under test are ours, so it may be any that they send."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = tuple((name, value.strip()) for name, _, value in (x.partition(":") for x in lines))
    return Request(method, target, headers, origin, connection)
