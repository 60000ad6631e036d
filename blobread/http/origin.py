"""URLs: who is asked, what for, and what of it may be shown."""

import re
from base64 import b64encode
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
    authorization : str or None
        For ``Authorization``, from the userinfo.
    """

    __slots__ = ("authorization", "host", "port", "scheme", "target", "text")

    def __init__(
        self, scheme: str, host: str, port: int, target: str, authorization: str | None
    ) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.target = target
        self.authorization = authorization
        self.text = f"{scheme}://{self.authority}{target}"

    def __repr__(self) -> str:
        return f"<Url {redact(self.text)}>"

    @property
    def authority(self) -> str:
        """Host and port for ``Host``: without the port that the scheme implies."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to."""
        return self.scheme, self.host, self.port


def redact(text: str) -> str:
    """Return a URL without its userinfo, query and fragment."""
    bare = text.partition("#")[0]
    bare, query, _ = bare.partition("?")
    return _USERINFO.sub("", bare) + ("?..." if query else "")


def parse_url(text: str) -> Url:
    """Take a URL apart.

    Raises
    ------
    InvalidPathError
        If it is no absolute http or https URL, or holds a blank or control character. Where
        the host cannot be told from the userinfo, the error shows neither.
    """
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
