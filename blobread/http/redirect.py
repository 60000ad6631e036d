"""Where a redirect leads, if a careful client goes there."""

import re
from urllib.parse import urljoin, urlsplit

from ..errors import InvalidPathError
from .origin import Url, parse_url

__all__ = ["MAX_HOPS", "STATUSES", "UnsafeLocation", "follow"]

STATUSES = frozenset({301, 302, 303, 307, 308})
MAX_HOPS = 5
_LONGEST = 8 * 1024
_UNSAFE = re.compile(r"[^\x21-\x5b\x5d-\x7e\xa0-\xff]")


class UnsafeLocation(ValueError):
    """The Location is none that is followed; the message says why, and shows none of it."""


def follow(url: Url, location: str | None) -> Url:
    """Return the URL that the ``Location`` in an answer from `url` means.

    Raises
    ------
    UnsafeLocation
        If it is absent, repeated, overlong, malformed, holds userinfo, or leads from https to
        http or to another scheme.
    """
    if not location:
        raise UnsafeLocation("the redirect has no Location")
    if len(location) > _LONGEST:
        raise UnsafeLocation(f"the Location of the redirect is longer than {_LONGEST} bytes")
    if _UNSAFE.search(location):
        # Two Location fields, too: they were joined by a comma and a blank.
        raise UnsafeLocation("the Location of the redirect is not one URL")
    try:
        # A server that does not quote its Location sends the bytes of UTF-8.
        reference = location.encode("latin-1").decode()
        parts = urlsplit(reference)
        if parts.scheme and not parts.netloc:
            raise ValueError  # urljoin would take "https:x" for relative, others do not
        target = parse_url(urljoin(url.text, reference))
    except (InvalidPathError, ValueError):
        raise UnsafeLocation("the Location of the redirect is not an http or https URL") from None
    if target.authorization is not None:
        raise UnsafeLocation("the Location of the redirect has a username or a password")
    if url.scheme == "https" and target.scheme == "http":
        raise UnsafeLocation("the redirect leads from https to http")
    return target
