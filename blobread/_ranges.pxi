"""Many ranges of a blob by one call: what is asked is checked as a whole, before any of it is read.

With a driver that has `readinto_ranges` all go to it at once; else they are read in turn.
"""

from .errors import PathNotFoundError


cdef list numbers_of(object numbers, str what):
    """Offsets or sizes as ints, none of them negative."""
    cdef list found = []
    cdef int64_t value
    for index, number in enumerate(numbers):
        value = as_offset(number)
        if value < 0:
            raise ValueError(f"range {index}: negative {what} {value}")
        found.append(value)
    return found


cdef list targets_of_callers(object buffers):
    """Take the memory of all buffers, or of none."""
    cdef list targets = []
    cdef Py_buffer view
    for index, buffer in enumerate(buffers):
        try:
            take_caller(buffer, &view)
        except Exception as exc:
            exc.add_note(f"range {index}: its buffer is not fit")
            raise
        targets.append(target_of_caller(&view))
    return targets


cdef object shown_range(object index, object at, object size):
    return f"range {index}: [{at}, {at + size})"


cdef int check_ranges(list offsets, list sizes, int64_t total) except -1:
    cdef int64_t at, size
    for index in range(len(offsets)):
        at = offsets[index]
        size = sizes[index]
        if size and (at > total or size > total - at):
            raise EOFError(f"{shown_range(index, at, size)} lies beyond the end at {total}")
    return 0


cdef int release_all(tuple views) except -1:
    error = None
    for view in views:
        try:
            view.release()
        except BufferError as exc:
            error = exc     # the driver has kept a part of it; that of the others is given back
    if error is not None:
        raise error
    return 0


cdef object method_for_many(_Source source, str name):
    """What the driver has for many ranges; None too where it does not know the size, as we do."""
    return None if source.info.size is None else getattr(source.driver, name, None)


cdef int engine_into_ranges(_Source source, object fill, list offsets, list targets) except -1:
    """Have the engine fill all of each target from its offset on."""
    cdef tuple views = tuple([memoryview(target) for target in targets])
    source.requests += 1
    try:
        fill(source.path, offsets, list(views), source.info)
    except PathNotFoundError as exc:
        source.check_open()
        if not source.missing_is_eof:
            raise
        raise EOFError("the blob has gone, and reads as an empty one") from exc
    except Exception:
        source.check_open()
        raise
    finally:
        release_all(views)
    source.check_open()
    for target in targets:
        source.fetched += (<_Target>target).size
    return 0
