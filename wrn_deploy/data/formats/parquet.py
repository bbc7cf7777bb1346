"""Parquet files of encoded images, as in Hugging Face data sets, read as a stream; pyarrow in a process of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from wrn_deploy.data import ImageSource, Item, Role, check_label
from wrn_deploy.data.containers.apart import Apart
from wrn_deploy.data.containers.shards import by_split, find_shards, is_pattern
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.foreign import check_known
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.data.splits import choose_split
from wrn_deploy.errors import DamagedFile, DeployError, missing_package
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import name_damage
from wrn_deploy.files.regular import open_regular
from wrn_deploy.files.text import parse_json

__all__ = ["open_source", "recognise", "shard_files"]

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
ENDINGS = (".parquet",)
PATTERNS = ("*.parquet", "*/*.parquet", "*/*/*.parquet")  # the first one that finds files; Hugging Face has all three
ROWS_AT_ONCE = 64
LABELS_AT_ONCE = 2**16
READ_BYTES = 2**20  # a row group may hold gigabytes: it is read in pieces of this size


def recognise(path: Path) -> bool:
    """Recognises a file that starts as parquet does, truncated or not, a pattern, and a folder with *.parquet."""
    if path.is_dir():
        return bool(_files_below(path))
    if not path.exists():
        return is_pattern(path, ENDINGS)
    with open_regular(path) as file:
        return file.read(4) == b"PAR1"


def open_source(name: str, role: Role, split: str | None) -> ImageSource:
    """Opens a parquet file, all that a pattern names, or a folder; of files named train, test or val those of the role.

    The images are in `img` or `image`, binary or a struct with `bytes`; the classes, if known, in `label`, `labels`
    or `fine_label`; the names of the classes come from the Hugging Face description in the schema. A test split whose
    labels are missing or -1 is passed over if there is a validation split.

    Raises:
        DeployError: a file is damaged, the split or the images' column is missing, or a column has the wrong type.
        MachineError: pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise missing_package("pyarrow", "parquet", "reading parquet files")
    files, notes = shard_files(Path(name), role, split)
    parts: list[StreamPart] = []
    labels: tuple[str, ...] = ()
    for file in files:
        open_regular(file).close()  # or says what else it is
        check_known(file, "parquet")
        apart = Apart(file)
        columns, names, *groups = apart.stream(_describe, file)
        first_row = 0
        for index, (rows, size_bytes) in enumerate(groups):
            budget().check("members", first_row + rows, file)
            parts.append(StreamPart(rows, size_bytes, partial(apart.stream, _items, file, index, first_row, columns)))
            first_row += rows
        labels = labels or names
    return stream_source(name, parts, labels=labels, notes=notes)


def _files_below(folder: Path) -> list[Path]:
    found = (sorted(file for file in folder.glob(pattern) if file.name[0] != ".") for pattern in PATTERNS)
    return next(filter(None, found), [])


def shard_files(path: Path, role: Role, split: str | None) -> tuple[list[Path], tuple[str, ...]]:
    """Returns the files that `open_source` reads, each of which it also opens alone, and what to say of the choice."""
    groups = by_split(path, _files_below(path)) if path.is_dir() else {}
    words = {word: files for word, files in groups.items() if word is not None}
    if words:
        choice = choose_split(words, role, split, str(path), lambda word: _is_labelled(words[word]))
        return words[choice.split], choice.notes
    if split is not None:
        raise DeployError(f"{path} has no split {split!r}: expected a folder of parquet files named by their split")
    return groups.get(None) or ([path] if path.exists() else find_shards(str(path))), ()


def _is_labelled(files: Sequence[Path]) -> bool:
    """Whether a file has a label that is not -1, which Hugging Face gives for none; stops at the first."""
    return any(any(Apart(file).stream(_labels, file)) for file in files)


def _labels(file: Path) -> Iterator[bool]:
    """Yields True if a label of the file is not -1."""
    with _open_file(file) as parquet:
        columns = _find_columns(parquet.schema_arrow, file)
        if len(columns) > 1:
            for batch in parquet.iter_batches(LABELS_AT_ONCE, columns=[columns[1]], use_threads=False):
                if any(label is not None and label >= 0 for label in batch.column(0).to_pylist()):
                    yield True
                    return


@contextmanager
def _open_file(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet as pq

    with (
        name_damage(file, "parquet", (pa.ArrowException,)),
        pq.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False) as parquet,
    ):
        yield parquet


def _find_columns(schema: Any, file: Path) -> tuple[str, ...]:
    import pyarrow as pa

    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if image is None:
        raise DeployError(f"{file} has the columns {', '.join(schema.names)}: expected the images in img or image")
    kind = schema.field(image).type
    is_struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if not _is_binary(kind.field("bytes").type if is_struct else kind):
        raise DeployError(f"{file} has {image} of type {kind}: expected encoded images, binary or a struct with bytes")
    if label is None:
        return (image,)
    found = schema.field(label).type
    if pa.types.is_null(found):
        return (image,)
    if not pa.types.is_integer(found.value_type if pa.types.is_dictionary(found) else found):
        raise DeployError(
            f"{file} has {label} of type {found}: expected integers; replace each label by its class "
            "index in the network's order"
        )
    return (image, label)


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    checks = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(check(kind) for check in checks)


def _describe(file: Path) -> Iterator[Any]:
    """Yields the names of the columns, those of the classes, and the rows and bytes of each row group."""
    with _open_file(file) as parquet:
        columns = _find_columns(parquet.schema_arrow, file)
        yield columns
        yield _class_names(parquet.schema_arrow.metadata, columns)
        for index in range(parquet.metadata.num_row_groups):
            group = parquet.metadata.row_group(index)
            yield group.num_rows, group.total_byte_size


def _class_names(metadata: dict[bytes, bytes] | None, columns: tuple[str, ...]) -> tuple[str, ...]:
    try:
        text = (metadata or {})[b"huggingface"].decode("utf-8", "replace")
        features = parse_json(text, "the description")["info"]["features"]
        return tuple(str(name) for name in features[columns[1]]["names"])
    except (DamagedFile, LookupError, TypeError):
        return ()  # not from Hugging Face, or its classes have no names


def _items(file: Path, group: int, row: int, columns: tuple[str, ...]) -> Iterator[Item]:
    """Yields the images of a row group, whose first row is `row`."""
    with _open_file(file) as parquet:
        options = {"row_groups": [group], "columns": [*columns], "use_threads": False}
        for batch in parquet.iter_batches(ROWS_AT_ONCE, **options):
            for encoded, path, label in zip(*_values(batch), strict=True):
                name = f"{file.name} row {row}"
                if encoded is None and path is not None:
                    raise DeployError(
                        f"{file} row {row} has a path ({path!r}) and no bytes: expected the image in the file itself; "
                        "embed the images, as `datasets` does in `push_to_hub`, or give the folder of the images"
                    )
                index = None if label is None else check_label(label, name)
                yield Item(name, index, Encoded(encoded or b"", f"{file} row {row}"))
                row += 1


def _values(batch: Any) -> tuple[list[bytes | None], list[str | None], list[int | None]]:
    """Returns images, paths and labels of some rows, copied, so that none keeps the others in memory."""
    images = batch.column(0)
    nothing: list[Any] = [None] * batch.num_rows
    encoded: list[bytes | None] = (images.field("bytes") if hasattr(images, "field") else images).to_pylist()
    has_paths = hasattr(images, "field") and images.type.get_field_index("path") >= 0
    paths = images.field("path").to_pylist() if has_paths else nothing
    return encoded, paths, batch.column(1).to_pylist() if batch.num_columns > 1 else nothing
