"""The memory of a CPU tensor that speaks DLPack and has no buffer of Python's kind, as torch's has none."""

import ctypes
from typing import Any

__all__ = ["byte_view"]

# The structs are those of dlpack.h, version 1.0.
_CPU = 1
_READ_ONLY = 1


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
        It does not lie in the memory of the CPU, or is not a DLPack tensor.
    BufferError
        It is read-only, or not contiguous in C's order.
    """
    device = int(tensor.__dlpack_device__()[0])
    if device != _CPU:
        raise TypeError(f"the tensor is on a device of DLPack type {device}, not in the memory of the CPU")
    try:
        capsule = tensor.__dlpack__(max_version=(1, 0))
    except TypeError:
        capsule = tensor.__dlpack__()   # a producer from before version 1
    described = _described(capsule)
    if not _is_contiguous(described):
        raise BufferError("the tensor is not contiguous")
    count = described.bits * described.lanes
    for n in range(described.ndim):
        count *= described.shape[n]
    size = (count + 7) // 8
    if size == 0:
        return memoryview(bytearray())
    memory = (ctypes.c_ubyte * size).from_address(described.data + described.byte_offset)
    memory.capsule = capsule    # type: ignore[attr-defined]  # it owns the tensor
    return memoryview(memory).cast("B")


def _described(capsule: Any) -> _DLTensor:
    if _is_valid(capsule, b"dltensor_versioned"):
        managed = _DLManagedTensorVersioned.from_address(_get_pointer(capsule, b"dltensor_versioned"))
        if managed.major != 1:
            raise TypeError(f"the tensor speaks version {managed.major} of DLPack, and version 1 is understood")
        if managed.flags & _READ_ONLY:
            raise BufferError("the tensor is read-only")
        return managed.tensor
    if _is_valid(capsule, b"dltensor"):
        return _DLTensor.from_address(_get_pointer(capsule, b"dltensor"))
    raise TypeError("__dlpack__() gave no unused DLPack capsule")


def _is_contiguous(tensor: _DLTensor) -> bool:
    if not tensor.strides:
        return True
    expected = 1
    for n in reversed(range(tensor.ndim)):
        if tensor.shape[n] != 1 and tensor.strides[n] != expected:
            return tensor.shape[n] == 0
        expected *= tensor.shape[n]
    return True
