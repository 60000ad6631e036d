"""Sizes as people write them: 64K, 1M, 256.0 MiB."""

import re

__all__ = ["format_size", "parse_size"]

_UNITS = "KMGT"
_SIZE = re.compile(rf"([0-9]{{1,15}})(?:([{_UNITS}])(?:i?B)?|B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Give the bytes that ``4096``, ``64K``, ``64KiB`` or ``1m`` stand for: powers of 1024.

    Raises
    ------
    ValueError
        Also for 0.
    """
    match = _SIZE.fullmatch(text)
    size = 0
    if match is not None:
        power = 0 if match[2] is None else 1 + _UNITS.index(match[2].upper())
        size = int(match[1]) * 1024**power
    if not 0 < size < 2**63:
        raise ValueError(f"{text!r} is no size: write a number of bytes, 64K, 1M or 2G")
    return size


def format_size(size: int) -> str:
    """Give a size in the largest unit that it fills: ``512 B``, ``64 KiB``, ``1.5 MiB``."""
    if size < 1024:
        return f"{size} B"
    number = float(size)
    for unit in _UNITS:
        number /= 1024
        if number < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{number:.1f} {unit}iB".replace(".0 ", " ")
