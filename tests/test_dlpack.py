"""Tensors that speak DLPack and export no buffer, as torch's do, are read into."""

import ctypes
import gc
import random
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pytest

from blobread import BlobReader, dlpack
from blobread.drivers.memory import MemoryDriver

Array: TypeAlias = np.ndarray[Any, Any]

DATA = random.Random(5).randbytes(300_000)


class Tensor:
    """An array that is reached by DLPack only."""

    def __init__(self, array: Array, device: int = 1) -> None:
        self.array = array
        self.device = device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)


class OldTensor(Tensor):
    """From before DLPack had versions."""

    def __dlpack__(self, **options: Any) -> Any:
        if options:
            raise TypeError("__dlpack__() got an unexpected keyword argument")
        return self.array.__dlpack__()


class PatchedTensor(OldTensor):
    """Describes itself otherwise than its array does."""

    def __init__(self, array: Array, **patches: int) -> None:
        super().__init__(array)
        self.patches = patches

    def __dlpack__(self, **options: Any) -> Any:
        capsule = super().__dlpack__(**options)
        described = dlpack._described(capsule)
        for name, value in self.patches.items():
            setattr(described, name, value)
        return capsule


def fill(reader: BlobReader, tensor: Any) -> int:
    # A type checker sees that it exports no buffer.
    return reader.readinto(tensor)


kinds = pytest.mark.parametrize("kind", [Tensor, OldTensor])


@pytest.fixture
def reader() -> Iterator[BlobReader]:
    with BlobReader(MemoryDriver({"blob": DATA}), "blob") as reader:
        yield reader


@kinds
@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "f4", "f8", "c16", "?"])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (), (1, 5), (70_000,), (0,), (3, 0)])
def test_tensor_is_filled(
    reader: BlobReader, kind: Any, dtype: str, shape: tuple[int, ...]
) -> None:
    array = np.zeros(shape, dtype)
    size = min(array.nbytes, len(DATA))
    assert fill(reader, kind(array)) == size
    assert array.tobytes()[:size] == DATA[:size]
    assert reader.tell() == size


@kinds
@pytest.mark.parametrize("name", ["readinto", "readinto1", "readinto_at"])
def test_every_way_to_read_into_takes_a_tensor(reader: BlobReader, kind: Any, name: str) -> None:
    array = np.zeros(1000, "u1")
    at = (0,) if name == "readinto_at" else ()
    assert getattr(reader, name)(kind(array), *at) == 1000
    assert array.tobytes() == DATA[:1000]


@kinds
def test_part_of_a_tensor_is_filled_and_nothing_beside_it(reader: BlobReader, kind: Any) -> None:
    whole = np.zeros((5, 8), "u1")
    assert fill(reader, kind(whole[1:3])) == 16
    assert whole.tobytes() == bytes(8) + DATA[:16] + bytes(16)


@kinds
def test_stride_of_a_single_item_means_nothing(reader: BlobReader, kind: Any) -> None:
    array = np.zeros((4, 6), "u1")
    assert fill(reader, kind(array[:1, 1:3])) == 2
    assert array.tobytes()[:5] == b"\0" + DATA[:2] + b"\0\0"


def test_tensor_is_told_not_to_give_a_copy(reader: BlobReader) -> None:
    class Lending(Tensor):
        def __dlpack__(self, **options: Any) -> Any:
            array = self.array if options.get("copy") is False else self.array.copy()
            return array.__dlpack__(max_version=options.get("max_version"))

    array = np.zeros(10, "u1")
    assert fill(reader, Lending(array)) == 10
    assert array.tobytes() == DATA[:10]


def test_tensor_may_begin_behind_its_address(reader: BlobReader) -> None:
    whole = np.zeros(32, "u1")
    assert fill(reader, PatchedTensor(whole[:16], byte_offset=8)) == 16
    assert whole.tobytes() == bytes(8) + DATA[:16] + bytes(8)


@kinds
@pytest.mark.parametrize("device", [3, 11])
def test_memory_that_is_pinned_for_a_device_is_filled(
    reader: BlobReader, kind: Any, device: int
) -> None:
    array = np.zeros(10, "u1")
    assert fill(reader, kind(array, device)) == 10
    assert array.tobytes() == DATA[:10]


PARTS: dict[str, Callable[[Array], Array]] = {
    "transposed": lambda array: array.T,
    "every other": lambda array: array[:, ::2],
    "backwards": lambda array: array[::-1],
    "column": lambda array: array[:, :1],
}


@kinds
@pytest.mark.parametrize("part", PARTS)
def test_tensor_that_is_not_contiguous_is_refused(reader: BlobReader, kind: Any, part: str) -> None:
    array = np.zeros((4, 6))
    with pytest.raises(BufferError, match="contiguous"):
        fill(reader, kind(PARTS[part](array)))
    assert not array.any()
    assert reader.tell() == 0


@kinds
def test_tensor_that_is_read_only_is_refused(reader: BlobReader, kind: Any) -> None:
    array = np.zeros(4)
    array.flags.writeable = False
    with pytest.raises(BufferError):
        fill(reader, kind(array))
    assert not array.any()


@pytest.mark.parametrize("device", [2, 4, 7, 8, 10, 13, 14])
def test_tensor_of_another_device_is_refused(reader: BlobReader, device: int) -> None:
    with pytest.raises(TypeError, match=f"device of DLPack type {device}"):
        fill(reader, Tensor(np.zeros(4), device))


def test_tensor_that_denies_its_device_is_refused(reader: BlobReader) -> None:
    with pytest.raises(TypeError, match="device of DLPack type 2"):
        fill(reader, PatchedTensor(np.zeros(4), device_type=2))


def test_tensor_that_gives_a_copy_is_refused(reader: BlobReader) -> None:
    class Copied(Tensor):
        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(max_version=(1, 0), copy=True)

    with pytest.raises(BufferError, match="copy"):
        fill(reader, Copied(np.zeros(4)))


def test_tensor_of_half_bytes_is_refused(reader: BlobReader) -> None:
    array = np.zeros(4, "u1")
    with pytest.raises(TypeError, match="4 bits"):
        fill(reader, PatchedTensor(array, bits=4))
    assert fill(reader, PatchedTensor(array, bits=4, lanes=2)) == 4
    assert array.tobytes() == DATA[:4]


def test_tensor_of_a_later_dlpack_is_refused(reader: BlobReader) -> None:
    class Later(Tensor):
        def __dlpack__(self, **options: Any) -> Any:
            capsule = self.array.__dlpack__(**options)
            address = dlpack._get_pointer(capsule, b"dltensor_versioned")
            ctypes.c_uint32.from_address(address).value = 2
            return capsule

    with pytest.raises(TypeError, match="DLPack 2"):
        fill(reader, Later(np.zeros(4)))


def test_capsule_that_was_used_is_refused(reader: BlobReader) -> None:
    class Used(Tensor):
        def __dlpack__(self, **options: Any) -> Any:
            capsule = self.array.__dlpack__(**options)
            set_name = ctypes.pythonapi.PyCapsule_SetName
            set_name.argtypes = (ctypes.py_object, ctypes.c_char_p)
            set_name(capsule, b"used_dltensor_versioned")
            return capsule

    array = np.zeros(4)
    with pytest.raises(TypeError, match="unused DLPack capsule"):
        fill(reader, Used(array))


def test_error_of_a_tensor_comes_out_as_it_is(reader: BlobReader) -> None:
    class Failing(Tensor):
        def __dlpack__(self, **options: Any) -> Any:
            raise BufferError("requires grad")

    with pytest.raises(BufferError, match="requires grad"):
        fill(reader, Failing(np.zeros(4)))


@kinds
def test_view_keeps_the_memory_alive_and_no_longer_than_itself(kind: Any) -> None:
    class Watched(np.ndarray[Any, Any]):
        pass

    array = np.zeros(100, "u1").view(Watched)
    gone = weakref.ref(array)
    view = dlpack.byte_view(kind(array))
    del array
    gc.collect()
    assert gone() is not None
    view[:3] = b"abc"
    assert bytes(view[:4]) == b"abc\0"
    del view
    gc.collect()
    assert gone() is None
