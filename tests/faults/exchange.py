"""One request and its answer, with the faults of a plan put into it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .answer import Answer, honest_answer, plain
from .blob import Blob
from .connection import Connection
from .plan import Fault, Ledger, Phase
from .request import Request

__all__ = ["Case", "Exchange", "converse"]

# Small answers leave in one piece, as they do from a real server.
JOINED = 64 << 10


@dataclass(slots=True)
class Case:
    """A blob on the server, what goes wrong with it, and what has happened.

    Its blob and its plan may be changed between requests.
    """

    number: int
    base: str  # URL of the server's first origin
    blob: Blob
    plan: list[Fault]
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def path(self) -> str:
        return f"/c{self.number}/blob"

    @property
    def url(self) -> str:
        return self.base + self.path

    def add(self, *faults: Fault) -> None:
        self.plan.extend(faults)

    def unfired(self) -> list[Fault]:
        """The faults that have not acted once: with one left, the test has proved nothing."""
        return [fault for fault in self.plan if not self.ledger.count(fault)]


def _not_found() -> Answer:
    return plain(404, b"there is no such blob")


@dataclass(slots=True)
class Exchange:
    """What a fault may look at and change."""

    request: Request
    blob: Blob
    connection: Connection
    knows_conditions: bool = True  # the server understands If-Match
    deleted: bool = False
    answer: Answer = field(default_factory=_not_found)

    def replace(self, answer: Answer) -> None:
        """Give another answer; to HEAD, its head."""
        answer.bodiless = self.request.method == "HEAD"
        self.answer = answer


def converse(connection: Connection, cases: dict[str, Case]) -> None:
    """Answer the requests of one connection, until it is over."""
    stays = True
    while stays and (request := connection.read_request()) is not None:
        case = cases.get(request.target.partition("?")[0].split("/")[1])
        if case is None:
            answer = _not_found()
            answer.bodiless = request.method == "HEAD"
            connection.send(answer.head() + b"".join(answer.wire()))
        else:
            request = case.ledger.enter(request)
            exchange = Exchange(request, case.blob, connection)
            _answer(exchange, [x for x in case.plan if x.when.holds(request)], case.ledger)
            stays = not exchange.answer.closes
        stays = stays and not request.is_last


def _answer(exchange: Exchange, faults: list[Fault], ledger: Ledger) -> None:
    """Answer one request."""

    def due(phase: Phase) -> list[Fault]:
        mine = [fault for fault in faults if fault.kind.phase == phase]
        return [fault for fault in mine if ledger.take(fault, exchange.request)]

    for fault in due("request"):
        fault.kind.apply(exchange, **fault.params)
    if exchange.deleted:
        exchange.replace(exchange.answer)
    else:
        exchange.answer = honest_answer(
            exchange.request, exchange.blob, conditions=exchange.knows_conditions
        )
    for fault in due("answer"):
        fault.kind.apply(exchange, **fault.params)
    head = exchange.answer.head()
    for fault in due("head"):
        head = fault.kind.apply(exchange, head, **fault.params)
    _send(exchange, head, [x for x in faults if x.kind.phase == "wire"], ledger)


def _send(exchange: Exchange, head: bytes, stops: list[Fault], ledger: Ledger) -> None:
    """Send head and body, and let each fault act at its position."""
    connection = exchange.connection
    placed = sorted((x for x in stops if x.at is not None), key=_position, reverse=True)
    position = -len(head)
    for piece in _joined(head, exchange.answer):
        sent = 0
        while placed and _position(placed[-1]) <= position + len(piece):
            fault = placed.pop()
            if not ledger.left(fault):
                continue
            reach = max(sent, _position(fault) - position)
            connection.send(piece[sent:reach])
            sent = reach
            _act(fault, exchange, ledger)
        connection.send(piece[sent:])
        position += len(piece)
    for fault in stops:
        if fault.at is None:
            _act(fault, exchange, ledger)


def _position(fault: Fault) -> int:
    assert fault.at is not None
    return fault.at


def _act(fault: Fault, exchange: Exchange, ledger: Ledger) -> None:
    if ledger.take(fault, exchange.request):
        fault.kind.apply(exchange, **fault.params)


def _joined(head: bytes, answer: Answer) -> Iterator[bytes]:
    """Head and body, small pieces put together."""
    waiting = head
    for piece in answer.wire():
        waiting += piece
        if len(waiting) >= JOINED:
            yield waiting
            waiting = b""
    if waiting:
        yield waiting
