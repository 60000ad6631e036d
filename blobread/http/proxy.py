"""Which proxy, if any, stands before an origin."""

import os
import time
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from .origin import Url, parse_url

__all__ = ["Proxy", "environment_proxy", "parse_proxy"]

_VARIABLES = (
    *("http_proxy", "https_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "REQUEST_METHOD"),
)


class Proxy(NamedTuple):
    """An HTTP proxy: http is asked for through it by absolute URLs, https by CONNECT."""

    host: str
    port: int
    authorization: str | None

    def __repr__(self) -> str:
        return f"<Proxy {self.host}:{self.port}>"


def parse_proxy(text: str) -> Proxy:
    """Read a proxy's URL; as in the environment, ``http://`` may be left out.

    Raises
    ------
    ValueError
        For a proxy of another kind. No part of the URL is in the message.
    """
    scheme = urlsplit(text).scheme if "://" in text else "http"
    if scheme != "http":
        raise ValueError(f"a proxy must be an http:// URL; {scheme}:// is not supported")
    url = parse_url(text if "://" in text else f"http://{text}")
    return Proxy(url.host, url.port, url.authorization)


def environment_proxy(url: Url) -> Proxy | None:
    """Find what ``http_proxy``, ``https_proxy``, ``no_proxy`` or the system say of an origin."""
    # To ask urllib takes as long as to read a small blob, so its answer is kept: while these
    # variables stay as they are, and for a minute, because the system's settings may change.
    said = tuple(map(os.environ.get, _VARIABLES))
    return _look_up(*url.origin, said, int(time.monotonic() // 60))


@lru_cache(256)
def _look_up(scheme: str, host: str, port: int, said: object, minute: int) -> Proxy | None:
    # urllib.request brings http.client and email along: 20 ms that an import of blobread saves.
    from urllib.request import getproxies, proxy_bypass

    found = getproxies().get(scheme)
    if not found or proxy_bypass(f"{host}:{port}"):
        return None
    return parse_proxy(found)
