"""Recognises files and folders of other programs by their content, and says what to do with them; opens no weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.formats.zip_archive import open_zip
from wrn_deploy.files.regular import open_regular
from wrn_deploy.formatting import first_names

__all__ = ["EXPECTED", "check_folder", "check_kind", "check_names"]

EXPECTED = "expected a .safetensors, .pth, .npz or HDF5 file"
START = 4096  # bytes that are looked at
SHOWN = 40  # letters of a text that an error shows
TORCH = (b"\x80\x02\x8a\x0a", b"PK")  # torch.save's older and newer format
WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".npz", ".h5", ".hdf5", ".t7", ".pkl", ".tar")
STATE = "load the network there and save its weights: torch.save(model.state_dict(), FILE), or as safetensors"
ARRAYS = (
    "load it there, and save the arrays as PyTorch has them (the names of a layout here, convolutions as OIHW): "
    "numpy.savez(FILE, **arrays)"
)
DOWNLOAD = "the download failed: open the address in a browser, or download with the program of that site"
GRAPH = "`wrn-deploy inspect`, `lint` and `plot-model` read such graphs; a bundle is made from the weights of PyTorch"


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of file or folder: the pattern that its content matches, what it is, and what to do."""

    pattern: str
    what: str
    remedy: str


# Of the first bytes. A text comes after the marks of texts, which are more special.
STARTS = (
    _Kind(r"version https://(git-lfs|hawser)", "a Git LFS pointer, not the file itself", "run `git lfs pull` there, or "
          "download the file itself"),
    _Kind(r"(?i)\s*<(!doctype html|html|head|body|script|title)\b", "an HTML page", DOWNLOAD),
    _Kind(r"(?s)\s*(<\?xml.*?>\s*)?(<!--((?!-->).)*-->\s*)*<net\b", "an OpenVINO graph",
          f"its weights are in the .bin next to it; {STATE}"),
    _Kind(r"(?is)\s*(<\?xml.*?>\s*)?<(\w+:)?error\b", "a server's error in XML", DOWNLOAD),
    _Kind(r"\s*<\?xml|\s*<\w+[\s>]", "XML", DOWNLOAD),
    _Kind(r'(?s)\s*\{.*"weight_map"\s*:', "a list of shards, as Hugging Face writes it", "load all the shards that it "
          "lists, put their tensors into one dictionary, and save that"),
    _Kind(r'(?is)\s*\{\s*"(error|errors|message|detail|code|status)"\s*:', "a server's error in JSON", DOWNLOAD),
    _Kind(r'\s*(\{\s*("|\})|\[\s*["\[{\d\]])', "JSON: settings, or names", "use the weights next to it"),
    _Kind(r"model_checkpoint_path:", "the list of TensorFlow's checkpoints", ARRAYS),
    _Kind(r"\x08\x01\x12", "a SavedModel of TensorFlow", ARRAYS),
    _Kind(r"\x08[\x02-\x20](\x12[\x00-\x7f][\x20-\x7e]|[\x1a\x22\x32][\x00-\x7f][\x20-\x7e]|[\x28]|[\x3a\x42])",
          "an ONNX graph", GRAPH),
    _Kind(r"(?s)\x08[\x01-\x10]\x12", "a Core ML model", STATE),
    _Kind(r"(?s)....(TFL3)", "a TFLite graph", ARRAYS),
    _Kind(r"(?s)....ET\d\d", "a program of ExecuTorch", STATE),
    _Kind(r"GGUF|GGML|lmgg|tjgg|fmgg", "a GGUF file", "such files hold quantized language models; " + STATE),
    _Kind(r"[fptv]trt\0", "a TensorRT plan", "`wrn-deploy inspect` reads those in a bundle; " + STATE),
    _Kind(r"(?s)([\x81-\x8f]|\xde..)([\xa1-\xbf]|\xd9.)[\x20-\x7e]", "a msgpack file, as flax writes it", ARRAYS),
    _Kind(r"(?s)[\x03\x04]\0\0\0\x01\0\0\0", "a file of Torch 7 (Lua)", "convert it there, as with torchfile"),
    _Kind(r"\x12\x01\0\0\0\0\0\0", "a file of MXNet", ARRAYS),
    _Kind(r"\x93NUMPY", "one NumPy array", ARRAYS),
    _Kind(r"MATLAB 5\.0", "a MATLAB file", ARRAYS),
    _Kind(r"\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\0\0\0\0|RIFF....WEBP|II\*\0|MM\0\*", "an image", "give the weights first, "
          "then the images"),
    _Kind(r"%PDF", "a PDF", DOWNLOAD),
    _Kind(r"\x1f\x8b", "compressed with gzip", "unpack it first: gunzip, or tar xzf"),
    _Kind(r"\xfd7zXZ\0", "compressed with xz", "unpack it first: unxz, or tar xJf"),
    _Kind(r"BZh[1-9]1AY", "compressed with bzip2", "unpack it first: bunzip2, or tar xjf"),
    _Kind(r"\x28\xb5\x2f\xfd", "compressed with Zstandard", "unpack it first: unzstd"),
    _Kind(r"7z\xbc\xaf\x27\x1c|Rar!", "an archive", "unpack it first"),
    _Kind(r"(?s).{257}ustar", "a tar archive", "unpack it first: tar xf"),
    _Kind(r"PAR1", "a parquet file", "that is data, not weights"),
    _Kind(r"SQLite format 3", "a database", "that is data, not weights"),
    _Kind(r"\x7fELF|MZ", "a program or a library", STATE),
    _Kind(r"(?s)\x0a[\x01-\x7f]\x01?\x0a[\x01-\x7f][\x20-\x7e]", "a frozen graph of TensorFlow", ARRAYS),
    _Kind(r"\x0a[\x01-\x7f][\x20-\x7e]{3}", "weights of Caffe", ARRAYS),
    _Kind(r"\x80[\x02-\x05]", "a pickle that torch.save did not write, and may hold pickled code, which is never run "
          "here", "load it where it was made, and save tensors by torch.save or arrays by numpy.savez"),
)  # fmt: skip
# Of the name of a member of a zip archive.
MEMBERS = (
    _Kind(r"(^|/)(archive_format|serialized_exported_program\.json)$", "a program of torch.export", STATE),
    _Kind(r"/(code/|constants\.pkl$)", "TorchScript", "load it with torch.jit.load there, and save its weights: "
          "torch.save(loaded.state_dict(), FILE)"),
    _Kind(r"^model\.weights\.h5$", "a Keras model", ARRAYS),
    _Kind(r"(^|/)(saved_model\.pb|MAR-INF/|Manifest\.json)", "an archive of another program's model", STATE),
    _Kind(r"\.(pth|pt|ckpt|safetensors|h5|bin|npz|t7)$", "a zip archive with weights in it", "unpack it first"),
)  # fmt: skip
# Of a name in a folder.
FOLDERS = (
    _Kind(r"^manifest\.json$", "a bundle's folder", "its network's weights are in it: weights.safetensors"),
    _Kind(r"^saved_model\.pb$", "a SavedModel of TensorFlow", ARRAYS),
    _Kind(r"\.distcp$", "a checkpoint of torch.distributed.checkpoint", "make one file of it: python -m "
          "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE"),
    _Kind(r"^(zero_to_fp32\.py|mp_rank_\d+_model_states\.pt|bf16_zero_.*)$", "a checkpoint of DeepSpeed", "make "
          "one file of it: python zero_to_fp32.py . FILE"),
    _Kind(r"^data\.pkl$", "an unpacked file of torch.save", "download it again without unpacking, or zip it again"
          " with its folder, stored without compression (zip -0 -r FILE FOLDER)"),
    _Kind(r"\.(data-\d+-of-\d+|ckpt\S*\.index)$", "a checkpoint of TensorFlow", ARRAYS),
    _Kind(r"^(_METADATA|_CHECKPOINT_METADATA|ocdbt)", "a checkpoint of Orbax (JAX)", ARRAYS),
    _Kind(r"index\.json$", "a folder of shards, as Hugging Face writes them", "load all the shards there, put "
          "their tensors into one dictionary, and save that"),
)  # fmt: skip
# Of the name of an array.
NAMES = (
    _Kind(r"^(.*[./])?(layers\b.*\bvars[./]\d+|\w*(kernel|gamma|beta|moving_mean|moving_variance)(:0)?)$",
          "a file of Keras, TensorFlow or flax", ARRAYS),
)  # fmt: skip


def check_kind(file: Path) -> None:
    """Raises DeployError if this is a folder, or a file that is known to hold no weights that can be read here."""
    check_folder(file)
    if not file.is_file():
        found = f"{file} is not a regular file" if file.exists() else f"no weights at {str(file)!r}"
        raise DeployError(f"{found}: {EXPECTED}")
    with open_regular(file) as stream:
        start = stream.read(START)
    if start[8:9] == b"{" and not start[4:8].strip(b"\0"):  # safetensors: 8 bytes of length, then JSON
        return
    if re.search(r"\.data-\d+-of-\d+$", file.name):
        raise _error(file, _Kind("", "a part of TensorFlow's checkpoint", ARRAYS))
    if file.suffix == ".bin" and file.with_suffix(".xml").is_file():
        raise _error(file, _Kind("", "the constants of the OpenVINO graph next to it", STATE))
    text = start.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    if not start.startswith(TORCH):
        _refuse(file, STARTS, re.match, [text])
        letters = _printable(start)
        if letters is not None:
            raise _error(file, _Kind("", f"text that begins with {letters[:SHOWN]!r}", "give the weights themselves"))
    elif start.startswith(b"PK"):
        _refuse(file, MEMBERS, re.search, _members(file))


def check_folder(folder: Path) -> None:
    """Raises DeployError if this is a folder, with what it is if that is known, and which files in it may be meant."""
    if not folder.is_dir():
        return
    names = sorted(path.name for path in folder.iterdir())
    _refuse(folder, FOLDERS, re.search, names)
    files = [name for name in names if name.endswith(WEIGHTS)]
    if files:
        raise DeployError(f"{folder} is a folder: {EXPECTED}; give one of its files: {first_names(files)}")
    raise DeployError(
        f"{folder} is {'a' if names else 'an empty'} folder: {EXPECTED}, or the folder of a bundle; there is none in it"
    )


def check_names(file: Path, names: Iterable[str]) -> None:
    """Raises DeployError if arrays have the names of another program's layers."""
    _refuse(file, NAMES, re.search, [*names])


def _refuse(file: Path, kinds: Sequence[_Kind], look: Callable[[str, str], object], texts: Sequence[str]) -> None:
    for kind in kinds:
        if any(look(kind.pattern, text) for text in texts):
            raise _error(file, kind)


def _error(file: Path, kind: _Kind) -> DeployError:
    return DeployError(f"{file} is {kind.what}: {EXPECTED}; {kind.remedy}")


def _members(file: Path) -> list[str]:
    try:
        with open_regular(file) as stream, open_zip(stream, file) as archive:
            return archive.namelist()
    except DamagedFile:
        return []


def _printable(start: bytes) -> str | None:
    """The text if it is one; None for other bytes."""
    for cut in range(4):  # the last letter may be cut
        try:
            text = start[: len(start) - cut].decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
        return text if text and all(letter.isprintable() or letter in "\r\n\t" for letter in text) else None
    return None
