"""A certificate authority of our own, for TLS on the loopback."""

import functools
import ssl

import trustme

__all__ = ["client_context", "server_context"]


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def server_context(*names: str) -> ssl.SSLContext:
    """A context whose certificate is for these names or addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert(*names).configure_cert(context)
    return context


@functools.cache
def client_context() -> ssl.SSLContext:
    """A context that trusts the authority, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _authority().configure_trust(context)
    return context
