"""The extensions; everything else about the package stands in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

trace = os.environ.get("BLOBREAD_TRACE") == "1"
macros = [("CYTHON_TRACE_NOGIL", "1")] if trace else []


def extension(source: Path) -> Extension:
    """What is to be built of one .pyx; it includes what else lies beside it."""
    beside = [part for kind in ("*.pxi", "*.h") for part in sorted(source.parent.glob(kind))]
    return Extension(
        ".".join(source.with_suffix("").parts),
        [source.as_posix()],
        depends=[part.as_posix() for part in beside],
        define_macros=macros,
    )


setup(
    ext_modules=cythonize(
        [extension(source) for source in sorted(Path("blobread").rglob("*.pyx"))],
        compiler_directives={"linetrace": trace},
    )
)
