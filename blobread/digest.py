"""Digests, as stores and users write them: ``sha256:`` and hexadecimal digits."""

from typing import Any

__all__ = ["new_hash", "parse_digest"]


def new_hash(digest: str) -> Any:
    """Make a hash, in the meaning of `hashlib`, of the algorithm that a digest names.

    Raises
    ------
    ValueError
        If it is no digest, or its algorithm is not known here.
    """
    import hashlib  # a third of the time of importing blobread, and seldom needed

    algorithm, _, value = digest.partition(":")
    try:
        made = hashlib.new(algorithm, usedforsecurity=False)
    except ValueError:
        made = None
    # The algorithms without a size of their own, such as shake_128, make no digest.
    if made is None or not made.digest_size or len(value) != 2 * made.digest_size:
        raise _no_digest(digest)
    if value.strip("0123456789abcdef"):
        raise _no_digest(digest)
    return made


def parse_digest(text: str) -> str:
    """Give a digest that a user wrote, in lower case.

    Raises
    ------
    ValueError
        If it is none, or one that does not protect: sha256 and sha512 do.
    """
    digest = text.lower()
    if digest.partition(":")[0] not in ("sha256", "sha512"):
        raise _no_digest(text)
    try:
        new_hash(digest)
    except ValueError:
        raise _no_digest(text) from None
    return digest


def _no_digest(text: str) -> ValueError:
    return ValueError(
        f"{text!r} is no digest: those look like sha256:<64 hex digits> or sha512:<128 hex digits>"
    )
