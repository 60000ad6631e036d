"""Reading a raw stream to its end, as tests do it."""

from blobread.driver import BlobInfo, RawStream
from blobread.drivers.http import HttpDriver

__all__ = ["ByPart", "read_all"]


class ByPart(HttpDriver):
    """Asks by `part` where it is given a length."""

    def read_stream(
        self,
        path: str,
        offset: int = 0,
        length: int | None = None,
        *,
        pin: BlobInfo | None = None,
    ) -> RawStream:
        if length is None:
            return super().read_stream(path, offset, pin=pin)
        return self.part(path, offset, length, pin=pin)


def read_all(stream: RawStream, buffer_size: int = 1 << 20) -> bytes:
    """Give all bytes of a stream, and close it, whatever happens."""
    data, buffer = bytearray(), memoryview(bytearray(buffer_size))
    try:
        while count := stream.readinto(buffer):
            data += buffer[:count]
    finally:
        stream.close()
    return bytes(data)
