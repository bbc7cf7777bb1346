"""Says by its first bytes what a file is that cannot be read here, and what to do; the standard library only."""

from __future__ import annotations

from pathlib import Path

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.regular import open_regular

__all__ = ["HEAD_BYTES", "check_known", "describe_foreign"]

# Where the bytes stand, the bytes, and what the file is.
SIGNATURES = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (0, b"<!doctype html", "an HTML page: the download failed, do it again"),
    (0, b"<html", "an HTML page: the download failed, do it again"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd, which is not supported: unpack it with `zstd -d`"),
    (0, b"bzh", "compressed with bzip2, which is not supported: unpack it with `bzip2 -d`"),
    (0, b"\xfd7zxz\x00", "compressed with xz, which is not supported: unpack it with `xz -d`"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive, which is not supported: unpack it"),
    (0, b"rar!", "a RAR archive, which is not supported: unpack it"),
    (0, b"pk\x03\x04", "a zip file without arrays, which is not supported: unpack it"),
    (0, b"arrow1", "an Arrow file, which is not supported: save it as parquet"),
    (0, b"\x89hdf", "an HDF5 file, which is not supported: save its arrays as .npz"),
    (4, b"ftypavif", "AVIF, which this Pillow does not support: install Pillow 11.3 or newer, or save it as PNG"),
    (4, b"ftypavis", "AVIF, which this Pillow does not support: install Pillow 11.3 or newer, or save it as PNG"),
    (4, b"ftyphei", "HEIC, which is not supported: save it as JPEG or PNG"),
    (4, b"ftypmif1", "HEIC, which is not supported: save it as JPEG or PNG"),
    (4, b"jxl ", "JPEG XL, which is not supported: save it as JPEG or PNG"),
    (0, b"\xff\x0a", "JPEG XL, which is not supported: save it as JPEG or PNG"),
    (4, b"jp  ", "JPEG 2000, which is not supported: save it as PNG"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000, which is not supported: save it as PNG"),
    (0, b"8bps", "a Photoshop file, which is not supported: save it as PNG"),
    (0, b"v/1\x01", "OpenEXR, which is not supported: save it as PNG of 8 bits"),
    (0, b"%pdf", "a PDF, which is not supported: save its pictures as PNG"),
    (0, b"<svg", "SVG, which is not supported: save it as PNG"),
    (0, b"\x00\x05\x16\x07", "a Mac's resource fork (`._` file), not the file itself: remove it"),
    (0, b"ii*\x00", "a TIFF variant that is not supported: save it as PNG with 8 bits per channel"),
    (0, b"mm\x00*", "a TIFF variant that is not supported: save it as PNG with 8 bits per channel"),
    (0, b"ii+\x00", "a BigTIFF variant that is not supported: save it as PNG with 8 bits per channel"),
)
HEAD_BYTES = 64


def describe_foreign(head: bytes) -> str | None:
    """Returns what a file that begins with `head` is, and the remedy; None if that is not known."""
    if not head:
        return "an empty file"
    lower = head[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, signature, meaning in SIGNATURES:
        text = head[:HEAD_BYTES].lower() if start else lower
        if text.startswith(signature, start):
            return meaning
    return None


def check_known(path: Path, kind: str) -> None:
    """Checks that a file which is not of its kind is not another one that is known; leaves damage to its reader.

    Raises:
        DamagedFile: it is another one, or no regular file.
    """
    with open_regular(path) as stream:
        found = describe_foreign(stream.read(HEAD_BYTES))
    if found is not None:
        raise DamagedFile(f"{path} is {found}; expected an intact {kind} file")
