"""A blob whose every byte betrays which blob, which version and which offset it comes from."""

import hashlib
import threading
from dataclasses import dataclass

__all__ = ["Blob", "difference"]

BLOCK = 32
REMEMBERED = 16 << 20

_prefixes: dict[tuple[int, int], bytearray] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Blob:
    """`size` bytes of which the 32-byte block *i* is ``blake2b(seed|version|i)``.

    It costs no memory: up to 2**62 bytes are made as they are read (the first 16 MiB of a
    seed and version are remembered). A shorter blob is the beginning of a longer one.
    """

    size: int
    seed: int = 0
    version: int = 1

    @property
    def etag(self) -> str:
        return f'"{self.seed}-{self.version}-{self.size}"'

    @property
    def modified(self) -> str:
        """An HTTP date, one hour later for each version."""
        return f"Thu, 01 Jan 2026 {self.version % 24:02}:00:00 GMT"

    def read(self, start: int, stop: int) -> bytes:
        """Give the bytes ``[start, stop)``, as far as the blob goes."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        if stop <= REMEMBERED:
            return self._remembered(start, stop)
        first = start // BLOCK
        return self._blocks(first, -(-stop // BLOCK))[start - first * BLOCK :][: stop - start]

    def _remembered(self, start: int, stop: int) -> bytes:
        with _lock:
            prefix = _prefixes.setdefault((self.seed, self.version), bytearray())
            if len(prefix) < stop:
                # In steps of at least 64 KiB, so that ever longer blobs do not cost a call each.
                wanted = max(-(-stop // BLOCK), len(prefix) // BLOCK + 2048)
                prefix += self._blocks(len(prefix) // BLOCK, wanted)
            return bytes(memoryview(prefix)[start:stop])

    def _blocks(self, first: int, last: int) -> bytes:
        name = f"{self.seed}|{self.version}|"
        return b"".join(
            hashlib.blake2b(f"{name}{i}".encode(), digest_size=BLOCK).digest()
            for i in range(first, last)
        )


def difference(blob: Blob, offset: int, data: bytes) -> str | None:
    """Tell where `data` is not what the blob has from `offset` on, and whose bytes those are."""
    expected = blob.read(offset, offset + len(data))
    if data == expected:
        return None
    if len(expected) < len(data) and data.startswith(expected):
        return f"{len(data) - len(expected)} bytes beyond the end of the blob"
    pairs = enumerate(zip(data, expected, strict=False))
    wrong = next(i for i, (got, want) in pairs if got != want)
    return f"from offset {offset + wrong} on: {_origin(blob, offset + wrong, data[wrong:][:16])}"


def _origin(blob: Blob, offset: int, sample: bytes) -> str:
    start = max(0, offset - (64 << 10))
    for version in (blob.version, *range(1, blob.version + 3)):
        other = Blob(blob.size, blob.seed, version)
        found = other.read(start, offset + (64 << 10)).find(sample)
        if found >= 0:
            return f"these are the bytes of version {version} at offset {start + found}"
    return f"foreign bytes {sample.hex()}"
