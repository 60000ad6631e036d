"""Read any blob, anywhere, straight into your memory."""

from .driver import BlobInfo, RawStream, StorageDriver
from .errors import *

__version__ = "0.1.0.dev0"
