"""A server of blobs that breaks every rule of HTTP on demand, and keeps account of it.

::

    with FaultServer() as server:
        case = server.case(Blob(1000), Fault("fin", at=400))
        ...                                  # read case.url
        server.check()                       # the fault has acted
"""

from . import kinds
from .blob import Blob, difference
from .connection import Connection, ConnectionOver
from .exchange import Case, Exchange
from .origin import Origin
from .plan import EVER, KINDS, Fault, Firing, Kind, Ledger, When, kind
from .request import Request
from .server import FaultServer

__all__ = [
    "EVER",
    "KINDS",
    "Blob",
    "Case",
    "Connection",
    "ConnectionOver",
    "Exchange",
    "Fault",
    "FaultServer",
    "Firing",
    "Kind",
    "Ledger",
    "Origin",
    "Request",
    "When",
    "difference",
    "kind",
    "kinds",
]
