"""TLS: whom to trust, and sockets that speak it."""

import socket
import ssl
from functools import cache

__all__ = ["default_context", "wrap"]


@cache
def default_context() -> ssl.SSLContext:
    """Return the context of all who brought none: it verifies, by the system's roots."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def wrap(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Put TLS over a connected socket, which is used up; the handshake is still to be done."""
    try:
        return context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except OSError as error:
        _close_orphan(error)
        raise


def _close_orphan(error: OSError) -> None:
    """Close what `wrap_socket` forgets if a reset arrives within it: it owns the descriptor."""
    place = error.__traceback__
    while place is not None:
        orphan = place.tb_frame.f_locals.get("self")
        if isinstance(orphan, ssl.SSLSocket):
            orphan.close()
        place = place.tb_next
