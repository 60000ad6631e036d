"""The fault server: origins, and the cases that are served on all of them."""

import itertools
import ssl
from types import TracebackType
from typing import Self

from .blob import Blob
from .connection import Connection
from .exchange import Case, converse
from .origin import Origin
from .plan import Fault

__all__ = ["FaultServer"]


class FaultServer:
    """A server of blobs that does, for each of them, exactly the wrong that was planned.

    Every case has an URL of its own, so one server serves many cases at once, and each has its
    own count of requests and its own ledger.
    """

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self.origins: list[Origin] = []
        self._numbers = itertools.count(1)
        self.origin = self.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def listen(
        self,
        host: str = "127.0.0.1",
        *,
        tls: ssl.SSLContext | None = None,
        plan: tuple[Fault, ...] = (),
        listening: bool = True,
    ) -> Origin:
        """Open one more origin; `plan` is for its connections, before any request is read."""
        origin = Origin(self._serve, host, tls=tls, plan=plan, listening=listening)
        self.origins.append(origin)
        return origin

    def case(self, blob: Blob, *plan: Fault, origin: Origin | None = None) -> Case:
        """Serve a blob with these faults, on every origin; `origin` is that of its `url`."""
        number = next(self._numbers)
        case = Case(number, (origin or self.origin).url, blob, list(plan))
        self.cases[f"c{number}"] = case
        return case

    def forget(self, case: Case) -> None:
        """Serve the case no longer, and do not ask at the end whether its faults have acted."""
        del self.cases[f"c{case.number}"]

    def close(self) -> None:
        """Cut every connection; no thread and no socket is left after it."""
        for origin in self.origins:
            origin.close()

    def check(self) -> None:
        """Fail if a thread of the server died of an error, or a planned fault never acted."""
        errors = [error for origin in self.origins for error in origin.errors]
        if errors:
            raise BaseExceptionGroup("the fault server itself has failed", errors)
        unfired = [fault for origin in self.origins for fault in origin.unfired()]
        unfired += [fault for case in self.cases.values() for fault in case.unfired()]
        assert not unfired, f"{len(unfired)} faults have never acted, the first: {unfired[0]}"

    def _serve(self, connection: Connection) -> None:
        converse(connection, self.cases)
