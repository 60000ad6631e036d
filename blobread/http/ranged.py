"""Ranged reads: what is asked, and which answers are taken for the bytes of the blob."""

from typing import TYPE_CHECKING, NoReturn

from ..driver import RawStream
from ..errors import BlobChangedError, ProtocolError, RangeNotSupportedError
from . import pool
from .answer import Answer
from .chunked import ChunkedBody
from .client import Client
from .fields import content_length, content_range, is_chunked, unsatisfied_total
from .head import Malformed
from .joined import JoinedStream
from .pin import Facts, Pin, pin_of
from .refusal import refusal
from .sized import SizedBody
from .stream import Body, EmptyStream
from .target import Target

if TYPE_CHECKING:
    from .part import Part

__all__ = ["accept", "ask_range", "facts_of", "fetch", "has_identity_coding", "stop_of_unknown"]

# A range without end is refused by some servers, and 2**53 - 1 is the largest offset that all
# of them can count to.
stop_of_unknown = 2**53 - 1

_NOTHING = memoryview(b"")
_LARGEST_PREFIX = 8 * 1024 * 1024
_NO_CONDITIONS = frozenset({400, 501})


def fetch(
    client: Client,
    path: str,
    first: int,
    stop: int,
    pin: Pin | None,
    part: "Part | None" = None,
) -> tuple[Facts | None, RawStream]:
    """Ask for the bytes ``[first, stop)`` of a blob, or what it has of them.

    Parameters
    ----------
    stop : int
        At most the size, where `pin` knows it.
    pin : Pin, optional
        The version that is wanted.
    part : Part, optional
        Whose first bytes these are.

    Returns
    -------
    facts, stream
        What the answer tells of the blob; None if that is nothing new, or it has no bytes there.
        The stream goes on where the part's memory ends.

    Raises
    ------
    BlobChangedError, ProtocolError, RangeNotSupportedError, PathNotFoundError, BlobError
    """
    answer = ask_range(client, path, first, stop - 1, pin, part=part)
    if answer.taken >= 0:
        return None, _rest_of(answer, stop - first)
    if answer.head.status == 416:
        return None, _after_the_end(answer, first, pin)
    stream, reach, size = accept(answer, first, stop, pin)
    wanted = stop if size is None else min(stop, size)
    facts = facts_of(answer, size)
    if reach >= wanted:
        return facts, stream
    rest_pin = pin if pin is not None and pin.field else pin_of(size, facts.version)

    def more(position: int) -> tuple[Body, int]:
        answer = ask_range(client, path, position, wanted - 1, rest_pin, part=part)
        stream, reach, _ = accept(answer, position, wanted, rest_pin)
        return stream, reach

    return facts, JoinedStream(stream, reach, wanted, more)


def ask_range(
    client: Client,
    path: str,
    first: int,
    last: int,
    pin: Pin | None,
    deadline: float | None = None,
    part: "Part | None" = None,
    target: Target | None = None,
) -> Answer:
    """Send a GET for one closed range, under the condition that the pin knows."""
    target = target or client.target(path)
    fields = f"Range: bytes={first}-{last}\r\n"
    condition = pin.condition if pin is not None else ""
    if not condition or (client.refuses_if_match and target.url.origin in client.refuses_if_match):
        return client.ask("GET", target, fields, deadline, part)
    answer = client.ask("GET", target, fields + condition, deadline, part)
    if answer.head.status not in _NO_CONDITIONS:
        return answer
    # Some servers refuse If-Match itself. The answer's validator is compared in any case.
    answer.discard()
    answer = client.ask("GET", client.target(path), fields, deadline, part)
    if answer.head.status == 206:
        client.refuses_if_match.add(target.url.origin)
    return answer


def accept(
    answer: Answer, first: int, stop: int, pin: Pin | None, *, needs_total: bool = True
) -> tuple[Body, int, int | None]:
    """Take an answer for the bytes from `first` on and before `stop`, or raise.

    Parameters
    ----------
    needs_total : bool
        Whether a 206 must tell the size of the blob, if `pin` does not know it.

    Returns
    -------
    stream, reach, size
        The stream ends before byte `reach`. The size of the blob is None if it is not told.
    """
    if answer.head.status not in (200, 206):
        answer.discard()
        raise refusal(answer.subject, answer.head, pinned=pin is not None)
    try:
        if answer.head.status == 206:
            return _partial(answer, first, stop, pin, needs_total)
        return _whole(answer, first, stop, pin)
    except Malformed as error:
        answer.close()
        raise answer.subject.error(ProtocolError, str(error)) from None
    except BaseException:
        answer.close()
        raise


def _rest_of(answer: Answer, total: int) -> RawStream:
    """Return what is still to come of an answer that was taken."""
    left = total - answer.taken
    if not left:
        pool.give(answer.connection)
        return EmptyStream()
    return SizedBody(
        answer.connection,
        _NOTHING,
        answer.subject,
        left,
        given=answer.taken,
        left=left,
        may_reuse=True,
    )


def _partial(
    answer: Answer, first: int, stop: int, pin: Pin | None, needs_total: bool
) -> tuple[Body, int, int | None]:
    fields = answer.head.fields
    chunked = _framing(answer)
    begins, last, total = content_range(fields)
    if fields.get("content-type", "").lower().startswith("multipart/"):
        raise Malformed("the answer has several parts, where one range was asked for")
    if total is None and needs_total and (pin is None or pin.size is None):
        raise Malformed("the Content-Range does not tell the size of the blob")
    _check_version(answer, total, pin)
    if begins != first or last >= stop:
        raise Malformed(f"the server answered bytes {begins}-{last} to bytes {first}-{stop - 1}")
    count = last + 1 - first
    length = content_length(fields)
    if length is not None and length != count:
        raise Malformed(f"the Content-Length is {length}, the range {count} bytes long")
    stream: Body
    if chunked:
        stream = ChunkedBody(
            answer.connection,
            answer.rest,
            answer.subject,
            left=count,
            may_reuse=answer.head.keeps_alive,
        )
    else:
        stream = SizedBody(
            answer.connection,
            answer.rest,
            answer.subject,
            count,
            left=count,
            may_reuse=length is not None and answer.head.keeps_alive,
        )
    return stream, last + 1, total


def _whole(answer: Answer, first: int, stop: int, pin: Pin | None) -> tuple[Body, int, int | None]:
    """Take a 200: a server that knows no ranges sends the blob from its first byte on."""
    chunked = _framing(answer)
    length = content_length(answer.head.fields)
    if length is None and not chunked:
        raise Malformed("the answer has no length: only closing the connection would end it")
    if "content-range" in answer.head.fields:
        # A 206 that is labelled 200 would put its bytes in the wrong place.
        begins, last, total = content_range(answer.head.fields)
        if begins or last + 1 != total or length not in (None, total):
            raise Malformed("a 200 has the Content-Range of a part")
    _check_version(answer, length, pin)
    size = length if length is not None or pin is None else pin.size
    end = stop if size is None else min(stop, size)
    wanted = max(0, end - first)
    if wanted and first > max(_LARGEST_PREFIX, (size or 0) // 10):
        raise answer.subject.error(
            RangeNotSupportedError,
            f"the server sends the whole blob only, and byte {first} is too far in",
        )
    stream: Body
    if length is not None:
        stream = SizedBody(
            answer.connection,
            answer.rest,
            answer.subject,
            length,
            skip=first if wanted else 0,
            left=wanted,
            may_reuse=answer.head.keeps_alive,
        )
    else:
        stream = ChunkedBody(
            answer.connection,
            answer.rest,
            answer.subject,
            skip=first,
            left=wanted,
            is_exact=size is not None,
            may_reuse=answer.head.keeps_alive,
        )
    return stream, end, length


def _framing(answer: Answer) -> bool:
    """Check how the bytes are wrapped; tell whether they come in chunks."""
    fields = answer.head.fields
    if "content-encoding" in fields and not has_identity_coding(answer):
        raise Malformed("the answer has a Content-Encoding, although none was accepted")
    if "transfer-encoding" not in fields:
        return False
    if answer.head.minor == 0:
        raise Malformed("an answer of HTTP/1.0 came in chunks")
    return is_chunked(fields)


def has_identity_coding(answer: Answer) -> bool:
    """Tell whether the bytes are the blob's own, not compressed ones."""
    return answer.head.fields.get("content-encoding", "").lower() in ("", "identity")


def _check_version(answer: Answer, size: int | None, pin: Pin | None) -> None:
    if pin is not None and pin.differs(size, answer.head.fields):
        raise _changed(answer)


def facts_of(answer: Answer, size: int | None) -> Facts:
    """Return what an answer tells of the blob, given the size that it tells."""
    fields = answer.head.fields
    return Facts(size, fields.get("etag"), fields.get("last-modified"))


def _after_the_end(answer: Answer, first: int, pin: Pin | None) -> EmptyStream:
    answer.discard()
    try:
        total = unsatisfied_total(answer.head.fields)
    except Malformed as error:
        _protest(answer, str(error))
    if pin is not None and pin.size is not None and pin.size != total:
        raise _changed(answer)
    if first < total:
        _protest(answer, f"the server refused byte {first} of a blob of {total} bytes")
    return EmptyStream()


def _protest(answer: Answer, message: str) -> NoReturn:
    raise answer.subject.error(ProtocolError, message, status=answer.head.status) from None


def _changed(answer: Answer) -> BlobChangedError:
    message = "the blob is no longer the version that was opened"
    return answer.subject.error(BlobChangedError, message, status=answer.head.status)
