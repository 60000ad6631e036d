"""New connections: TCP, the tunnel through a proxy, and TLS, by one deadline."""

from .arrival import receive_head
from .connection import Connection, Route, time_left
from .dial import dial
from .head import Head, Malformed
from .proxy import Proxy
from .tls import default_context

__all__ = ["TunnelRefused", "connect"]


class TunnelRefused(ConnectionError):
    """A proxy did not open a tunnel; `head` is what it said."""

    def __init__(self, head: Head) -> None:
        super().__init__(f"the proxy answered {head.status} to CONNECT")
        self.head = head


def connect(route: Route, deadline: float) -> Connection:
    """Connect, by a deadline in seconds of `time.monotonic`.

    It is not left to `http.client`: that gives each address and each step the whole timeout
    anew, reads a proxy's answer without an end, and shows only the text of its refusal.

    Raises
    ------
    TimeoutError, TunnelRefused, Malformed, OSError
    """
    near = route if route.proxy is None else route.proxy
    connection = Connection(dial(near.host, near.port, deadline), route)
    try:
        if route.scheme == "https":
            if route.proxy is not None:
                _tunnel(connection, route.proxy, deadline)
            connection.secure(route.context or default_context(), route.host, deadline)
    except BaseException:
        connection.close()
        raise
    return connection


def _tunnel(connection: Connection, proxy: Proxy, deadline: float) -> None:
    host = connection.route.host
    authority = f"{f'[{host}]' if ':' in host else host}:{connection.route.port}"
    request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
    if proxy.authorization:
        request += f"Proxy-Authorization: {proxy.authorization}\r\n"
    connection.set_timeout(time_left(deadline))
    connection.ask(f"{request}\r\n".encode("ascii"), time_left(deadline))
    head, rest = receive_head(connection, deadline)
    if not 200 <= head.status < 300:
        raise TunnelRefused(head)
    if rest:
        raise Malformed("the proxy sent bytes into a tunnel that nobody had spoken in")
