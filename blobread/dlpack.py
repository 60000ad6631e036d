"""The memory of a CPU tensor that speaks DLPack and exports no buffer, as torch's does not."""

import ctypes
import math
from typing import Any

__all__ = ["byte_view"]

# The structs are those of dlpack.h, version 1.0.
_IN_MEMORY = (1, 3, 11)  # the CPU's, and such as CUDA or ROCm has pinned
_READ_ONLY = 1
_COPIED = 2


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _DLManagedTensorVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _DLTensor),
    )


_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype = ctypes.c_void_p
_get_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype = ctypes.c_int
_is_valid.argtypes = (ctypes.py_object, ctypes.c_char_p)


def byte_view(tensor: Any) -> memoryview:
    """Give the bytes of `tensor`, writable; the view keeps the tensor alive.

    Raises
    ------
    TypeError
        It does not lie in the memory of the CPU, has items that are no whole bytes, or is not a
        DLPack tensor.
    BufferError
        It is read-only, not contiguous in C's order, or can only be exported as a copy.
    """
    # Asked first: a tensor of another device may have to wait for it before it can be exported.
    _check_device(int(tensor.__dlpack_device__()[0]))
    try:
        capsule = tensor.__dlpack__(max_version=(1, 0), copy=False)
    except TypeError:
        capsule = tensor.__dlpack__()  # a producer from before version 1
    described = _described(capsule)
    _check_device(described.device_type)
    if not _is_contiguous(described):
        raise BufferError("the tensor is not contiguous")
    bits = described.bits * described.lanes
    if bits % 8:
        raise TypeError(f"the items of the tensor have {bits} bits, which are no whole bytes")
    size = bits // 8 * math.prod(described.shape[: described.ndim])
    if size == 0:
        return memoryview(bytearray())
    memory: Any = (ctypes.c_ubyte * size).from_address(described.data + described.byte_offset)
    memory.capsule = capsule  # it owns the tensor
    return memoryview(memory).cast("B")


def _check_device(kind: int) -> None:
    if kind not in _IN_MEMORY:
        raise TypeError(
            f"the tensor is on a device of DLPack type {kind}, not in the memory of the CPU"
        )


def _described(capsule: Any) -> _DLTensor:
    tensor: _DLTensor
    if _is_valid(capsule, b"dltensor_versioned"):
        address = _get_pointer(capsule, b"dltensor_versioned")
        managed = _DLManagedTensorVersioned.from_address(address)
        if managed.major != 1:
            raise TypeError(f"the tensor speaks DLPack {managed.major}, and 1 is understood")
        if managed.flags & _READ_ONLY:
            raise BufferError("the tensor is read-only")
        if managed.flags & _COPIED:
            raise BufferError("the tensor gives a copy of its memory only")
        tensor = managed.tensor
    elif _is_valid(capsule, b"dltensor"):
        tensor = _DLTensor.from_address(_get_pointer(capsule, b"dltensor"))
    else:
        raise TypeError("__dlpack__() gave no unused DLPack capsule")
    return tensor


def _is_contiguous(tensor: _DLTensor) -> bool:
    shape = tensor.shape[: tensor.ndim]
    if not tensor.strides or 0 in shape:
        return True
    expected = 1
    for length, stride in zip(shape[::-1], tensor.strides[: tensor.ndim][::-1], strict=True):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True
