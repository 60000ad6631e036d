from typing import final

from _typeshed import WriteableBuffer

HAS_WIRE: bool
UNSENT: int
UNUSUAL: int

@final
class Exchange:
    first_byte_after: float

    def __init__(self, descriptor: int) -> None: ...
    def ask(self, request: bytes, is_used: bool, patience: int) -> int: ...
    def fetch(
        self,
        request: bytes,
        is_used: bool,
        wanted: tuple[bytes, bytes, bytes, bytes],
        total: int,
        buffer: WriteableBuffer,
    ) -> int: ...
    def piece(self) -> bytes: ...
    def fill(self, buffer: WriteableBuffer, count: int, done: int = 0) -> int: ...
    def drop(self, count: int, pause: float, longest: float) -> bool: ...
    def close(self) -> None: ...
