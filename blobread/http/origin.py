"""URLs: who is asked, what for, and what of it may be shown."""

import re
from base64 import b64encode
from functools import lru_cache
from ipaddress import IPv6Address
from urllib.parse import quote, unquote_to_bytes, urlsplit

from ..errors import InvalidPathError

__all__ = ["Url", "parse_url", "redact"]

_PORTS = {"http": 80, "https": 443}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f]")
_HOST = re.compile(r"[0-9A-Za-z._~-]+")
_USERINFO = re.compile(r"(?<=//)[^/]*@")
# All that RFC 3986 allows in a path or query, and "%": what is quoted already is left alone.
_SAFE = "%/:?@!$&'()*+,;=-._~[]"
# What most URLs are: nothing in the path or the query that would have to be quoted, and no
# userinfo before. An empty query is not among them.
_PLAIN = re.compile(
    r"(https?://[^/?#@]+)"
    r"(/[%:@!$&'()*+,;=\-._~/0-9A-Za-z]*(?:\?[%:@!$&'()*+,;=\-._~/?0-9A-Za-z]+)?)"
)


class Url:
    """An absolute http or https URL, taken apart.

    Attributes
    ----------
    text : str
        The URL without userinfo and fragment.
    scheme, host : str
        In lower case; an IPv6 address has no brackets.
    port : int
    target : str
        Path and query, as they stand in a request.
    authority : str
        Host and port for ``Host``: without the port that the scheme implies.
    authorization : str or None
        For ``Authorization``, from the userinfo.
    origin : tuple
        What credentials belong to: scheme, host and port.
    """

    __slots__ = (
        "authority",
        "authorization",
        "host",
        "origin",
        "port",
        "scheme",
        "target",
        "text",
    )

    def __init__(
        self, scheme: str, host: str, port: int, target: str, authorization: str | None
    ) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.target = target
        self.authorization = authorization
        self.origin = (scheme, host, port)
        shown = f"[{host}]" if ":" in host else host
        self.authority = shown if port == _PORTS[scheme] else f"{shown}:{port}"
        self.text = f"{scheme}://{self.authority}{target}"

    def __repr__(self) -> str:
        return f"<Url {redact(self.text)}>"


def redact(text: str) -> str:
    """Return a URL without its userinfo, query and fragment."""
    bare = text.partition("#")[0]
    bare, query, _ = bare.partition("?")
    if "@" in bare:
        bare = _USERINFO.sub("", bare)
    return f"{bare}?..." if query else bare


def parse_url(text: str) -> Url:
    """Take a URL apart.

    Raises
    ------
    InvalidPathError
        If it is no absolute http or https URL, or holds a blank or control character. Where
        the host cannot be told from the userinfo, the error shows neither.
    """
    plain = _PLAIN.fullmatch(text)
    if plain is None:
        return _parse(text)
    return Url(*_origin(plain[1]), plain[2], None)


@lru_cache(256)
def _origin(beginning: str) -> tuple[str, str, int]:
    """Take the beginning of a plain URL apart, which ends before its path."""
    return _parse(beginning).origin


def _parse(text: str) -> Url:
    if _FORBIDDEN.search(text):
        raise _invalid("a URL has no blanks or control characters: percent-encode them", text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _invalid("the URL has a malformed host or port", text) from None
    if parts.scheme not in _PORTS:
        raise _invalid("the URL must start with http:// or https://", text)
    # What reads a backslash as a slash, as browsers do, sees another host than we do.
    host = None if "\\" in parts.netloc else _host(parts.hostname or "")
    if host is None or port == 0:
        raise _invalid("the URL has a malformed host or port", text)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(
        parts.scheme,
        host,
        port or _PORTS[parts.scheme],
        quote(target, safe=_SAFE),
        _basic(parts.username, parts.password),
    )


def _host(host: str) -> str | None:
    try:
        if ":" in host and "%" not in host:
            return str(IPv6Address(host))
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except ValueError:
        return None
    return name.lower() if _HOST.fullmatch(name) else None


def _basic(username: str | None, password: str | None) -> str | None:
    if username is None:
        return None
    pair = unquote_to_bytes(username) + b":" + unquote_to_bytes(password or "")
    return f"Basic {b64encode(pair).decode('ascii')}"


def _invalid(message: str, text: str) -> InvalidPathError:
    scheme, mark, _ = text.partition("://")
    shown = f"{scheme}://..." if mark and scheme.isalnum() else "..."
    return InvalidPathError(message, path=shown)
