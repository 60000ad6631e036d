"""The extension; everything else about the package stands in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

trace = os.environ.get("BLOBREAD_TRACE") == "1"
macros = [("CYTHON_TRACE_NOGIL", "1")] if trace else []

setup(
    ext_modules=cythonize(
        [
            Extension(
                "blobread._reader",
                ["blobread/_reader.pyx"],
                depends=["blobread/_pread.h", "blobread/_source.pxi", "blobread/_buffer.pxi"],
                define_macros=macros,
            )
        ],
        compiler_directives={"linetrace": trace},
    )
)
