"""The first question about a blob: its size and version, and its first bytes if wanted."""

import time
from contextlib import suppress
from functools import partial

from ..driver import RawStream
from ..errors import (
    BlobChangedError,
    BlobTimeoutError,
    ProtocolError,
    TruncatedBlobError,
    UnsafeRedirectError,
)
from .answer import Answer
from .client import Client
from .fields import content_length, content_range, unsatisfied_total
from .first import first_length, learn
from .head import Malformed
from .pin import Facts
from .ranged import accept, ask_range, facts_of, has_identity_coding, stop_of_unknown
from .stream import Body, EmptyStream

__all__ = ["ask_facts", "open_start"]

# Seconds. Who opens a blob that cannot be had wants to know it soon, whatever of the many steps
# is slow: this bounds name, connect, proxy, TLS, all redirects and the head, in total. Only a
# connect timeout that was set longer extends it. Bytes that flow have no such bound.
_OPEN_DEADLINE = 10.0


def ask_facts(client: Client, path: str) -> Facts:
    """Ask for size and version: by HEAD, and where that tells nothing, by a GET of one byte.

    What a HEAD is refused with means nothing: URLs are signed for GET alone, and servers
    answer 403, 404 or 405 to all HEADs, or nothing at all.

    Raises
    ------
    PathNotFoundError, BlobTimeoutError, ProtocolError, BlobError
    """
    now = time.monotonic()
    deadline = now + max(_OPEN_DEADLINE, client.connect_timeout)
    facts = None
    with suppress(ProtocolError, TruncatedBlobError, BlobTimeoutError, UnsafeRedirectError):
        # Half of the time is left for the GET, should the server only swallow a HEAD.
        facts = _head(client, path, now + (deadline - now) / 2)
    if facts is not None:
        return facts
    answer = ask_range(client, path, 0, 0, None, deadline)
    facts, stream = _accept_start(answer, 1)
    stream.close()
    if facts.size is None and answer.head.status == 206:
        raise _sizeless(answer)
    return facts


def open_start(client: Client, path: str) -> tuple[Facts, RawStream]:
    """Ask for the first bytes, and learn size and version from the answer.

    The stream ends after these bytes, or at the end of the blob where the server sends it whole.

    Raises
    ------
    PathNotFoundError, BlobTimeoutError, ProtocolError, BlobError
    """
    deadline = time.monotonic() + max(_OPEN_DEADLINE, client.connect_timeout)
    target = client.target(path)
    origin = target.url.origin
    length = first_length(origin)
    answer = ask_range(client, path, 0, length - 1, None, deadline, target=target)
    facts, stream = _accept_start(answer, length)
    if isinstance(stream, Body):
        stream.when_settled(partial(learn, origin, length))
    if facts.size is not None or answer.head.status != 206:
        return facts, stream
    try:
        facts = _with_size(facts, _head(client, path, deadline), answer)
    except BaseException:
        stream.close()
        raise
    return facts, stream


def _accept_start(answer: Answer, length: int) -> tuple[Facts, RawStream]:
    if answer.head.status == 416:
        answer.discard()
        # Only of an empty blob can the first byte be refused.
        try:
            is_empty = unsatisfied_total(answer.head.fields) == 0
        except Malformed:
            is_empty = False
        if not is_empty:
            message = "the server refused the first byte of the blob"
            raise answer.subject.error(ProtocolError, message, status=416)
        return Facts(0, None, None), EmptyStream()
    stop = length if answer.head.status == 206 else stop_of_unknown
    stream, reach, size = accept(answer, 0, stop, None, needs_total=False)
    if reach < stop_of_unknown:
        stream.stop = reach
    return facts_of(answer, size), stream


def _with_size(facts: Facts, whole: Facts | None, answer: Answer) -> Facts:
    """Complete what a 206 told by what a HEAD told, if they speak of the same version."""
    if whole is None or whole.size is None:
        raise _sizeless(answer)
    if (whole.etag, whole.modified) != (facts.etag, facts.modified):
        raise answer.subject.error(BlobChangedError, "the blob changed while it was opened")
    _, last, _ = content_range(answer.head.fields)
    if last >= whole.size:
        raise answer.subject.error(
            ProtocolError, f"the server sent byte {last} of a blob of {whole.size} bytes"
        )
    return whole


def _sizeless(answer: Answer) -> ProtocolError:
    return answer.subject.error(ProtocolError, "the server does not tell the size of the blob")


def _head(client: Client, path: str, deadline: float) -> Facts | None:
    """Ask by HEAD; None if the answer does not tell the size of the plain blob."""
    answer = client.ask("HEAD", client.target(path), "", deadline)
    answer.discard()
    fields = answer.head.fields
    try:
        size = content_length(fields)
    except Malformed:
        return None
    if answer.head.status != 200 or size is None or "transfer-encoding" in fields:
        return None
    if not has_identity_coding(answer):
        return None
    return facts_of(answer, size)
