"""What reading a damaged or hostile file can raise, in one list, and how that becomes an error that names the file."""

from __future__ import annotations

import csv
import lzma
import pickle
import struct
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from wrn_deploy.errors import DamagedFile

__all__ = ["DAMAGE", "name_damage"]

# Parsers meet what nobody wrote a check for: a missing attribute or a wrong type is as much damage as a wrong checksum.
# OSError holds gzip's BadGzipFile; ValueError all of Unicode's; ArithmeticError OverflowError; RuntimeError
# RecursionError and NotImplementedError.
DAMAGE: tuple[type[Exception], ...] = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError,
    SyntaxError, AssertionError, ImportError, struct.error, zlib.error, lzma.LZMAError, csv.Error, tokenize.TokenError,
    pickle.UnpicklingError, tarfile.TarError, zipfile.BadZipFile,
)  # fmt: skip


@contextmanager
def name_damage(path: object, kind: str, more: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turns what reading a damaged file raises into DamagedFile, as in "x.npz is damaged (...): expected a whole .npz".

    Args:
        path: names the file.
        kind: what it should be, as in "tar".
        more: what a library raises that is no kind of DAMAGE.
    """
    try:
        yield
    except (*DAMAGE, *more) as error:
        reason = "it does not fit in memory" if isinstance(error, MemoryError) else str(error) or type(error).__name__
        raise DamagedFile(f"{path} is damaged ({reason}): expected an intact {kind} file; download it again") from error
