"""Whom a request goes to, and what each request to it begins with."""

import re
from collections.abc import Mapping

from .connection import Route
from .origin import Url
from .refusal import Subject

__all__ = ["Target", "header_lines", "lines_for"]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = re.compile(
    r"accept-encoding|connection|content-length|expect|host|if-.*|keep-alive|proxy-authorization"
    r"|range|te|trailer|transfer-encoding|upgrade",
    re.IGNORECASE,
)


class Target:
    """A URL made ready to be asked.

    Parameters
    ----------
    lines : str
        That each request to the origin carries, from `lines_for`.
    is_own : bool
        Whether it is of the origin that the caller named, and may see the caller's headers.

    Attributes
    ----------
    beginning : str
        Of each request after its method; lines may be added.
    """

    __slots__ = ("beginning", "is_own", "route", "subject", "url")

    def __init__(self, url: Url, route: Route, subject: Subject, lines: str, is_own: bool) -> None:
        self.url = url
        self.route = route
        self.subject = subject
        self.is_own = is_own
        is_for_proxy = route.proxy is not None and route.scheme == "http"
        self.beginning = f"{url.text if is_for_proxy else url.target} HTTP/1.1\r\n{lines}"


def lines_for(url: Url, route: Route, headers: str) -> str:
    """Return the lines of each request to an origin, given those of `header_lines`."""
    lines = f"Host: {url.authority}\r\nAccept-Encoding: identity\r\n{headers}"
    if route.proxy is not None and route.scheme == "http" and route.proxy.authorization:
        lines += f"Proxy-Authorization: {route.proxy.authorization}\r\n"
    return lines


def header_lines(headers: Mapping[str, str]) -> str:
    """Return a caller's headers as lines of a request.

    Raises
    ------
    ValueError
        For a malformed one, and for those that belong to this client. No value is shown.
    """
    lines = []
    for name, value in headers.items():
        if _TOKEN.fullmatch(name) is None:
            raise ValueError("a header has a malformed name")
        if _OURS.fullmatch(name):
            raise ValueError(f"the header {name} is set by blobread itself")
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"the header {name} has a malformed value")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)
