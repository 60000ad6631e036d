"""Reading a raw stream to its end, as tests do it."""

from blobread.driver import RawStream

__all__ = ["read_all"]


def read_all(stream: RawStream, buffer_size: int = 1 << 20) -> bytes:
    """Give all bytes of a stream, and close it, whatever happens."""
    data, buffer = bytearray(), memoryview(bytearray(buffer_size))
    try:
        while count := stream.readinto(buffer):
            data += buffer[:count]
    finally:
        stream.close()
    return bytes(data)
