"""Parquet files of encoded images, as in Hugging Face data sets, read as a stream; pyarrow in a process of its own."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from wrn_deploy.data import ImageSource, Item, Role, check_label
from wrn_deploy.data.containers.apart import Apart
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.errors import DeployError, missing_package
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import name_damage
from wrn_deploy.files.regular import open_regular

__all__ = ["open_source", "recognise"]

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
SPLITS = {Role.TRAIN: ("train",), Role.TEST: ("test", "val")}  # how file names start; the first one wins
ROWS_AT_ONCE = 64
READ_BYTES = 2**20  # a row group may hold gigabytes: it is read in pieces of this size


def recognise(path: Path) -> bool:
    """Recognises a file that starts as parquet does, truncated or not, and a folder with *.parquet up to one below."""
    if path.is_dir():
        return bool(_files_below(path))
    with open_regular(path) as file:
        return file.read(4) == b"PAR1"


def open_source(name: str, role: Role) -> ImageSource:
    """Opens a parquet file, or a folder of them: if their names start with train, test or val, those of the role.

    The images are in `img` or `image`, binary or a struct with `bytes`; the classes, if known, in `label`, `labels`
    or `fine_label`; the names of the classes come from the Hugging Face description in the schema.

    Raises:
        DeployError: a file is damaged, the split or the images' column is missing, or a column has the wrong type.
        MachineError: pyarrow is not installed.
    """
    path = Path(name)
    parts: list[StreamPart] = []
    labels: tuple[str, ...] = ()
    if importlib.util.find_spec("pyarrow") is None:
        raise missing_package("pyarrow", "parquet", "reading parquet files")
    for file in _choose_files(path, role) if path.is_dir() else [path]:
        open_regular(file).close()  # or says what else it is
        apart = Apart(file)
        columns, names, *groups = apart.stream(_describe, file)
        first_row = 0
        for index, (rows, size_bytes) in enumerate(groups):
            budget().check("members", first_row + rows, file)
            parts.append(StreamPart(rows, size_bytes, partial(apart.stream, _items, file, index, first_row, columns)))
            first_row += rows
        labels = labels or names
    return stream_source(name, parts, labels=labels)


def _files_below(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("*/*.parquet"))


def _choose_files(folder: Path, role: Role) -> list[Path]:
    files = _files_below(folder)
    if not any(file.name.startswith((*SPLITS[Role.TRAIN], *SPLITS[Role.TEST])) for file in files):
        return files
    for start in SPLITS[role]:
        if chosen := [file for file in files if file.name.startswith(start)]:
            return chosen
    raise DeployError(
        f"{folder} holds {', '.join(file.name for file in files[:4])}: expected a file whose name starts with "
        f"{' or '.join(SPLITS[role])} too; give a file itself to use it for this"
    )


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
    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if image is None:
        raise DeployError(f"{file} has the columns {', '.join(schema.names)}: expected the images in img or image")
    kind = schema.field(image).type
    is_struct = str(kind).startswith("struct") and kind.get_field_index("bytes") >= 0
    content = kind.field("bytes").type if is_struct else kind
    if str(content) not in ("binary", "large_binary"):
        raise DeployError(f"{file} has {image} of type {kind}: expected encoded images, binary or a struct with bytes")
    if label is None:
        return (image,)
    if "int" not in str(schema.field(label).type):
        raise DeployError(f"{file} has {label} of type {schema.field(label).type}: expected whole numbers")
    return (image, label)


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
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[columns[1]]["names"])
    except (LookupError, TypeError, ValueError):
        return ()  # not from Hugging Face, or its classes have no names


def _items(file: Path, group: int, row: int, columns: tuple[str, ...]) -> Iterator[Item]:
    """Yields the images of a row group, whose first row is `row`."""
    with _open_file(file) as parquet:
        options = {"row_groups": [group], "columns": [*columns], "use_threads": False}
        for batch in parquet.iter_batches(ROWS_AT_ONCE, **options):
            for encoded, label in zip(*_values(batch), strict=True):
                name = f"{file.name} row {row}"
                index = None if label is None else check_label(label, name)
                yield Item(name, index, Encoded(encoded or b"", f"{file} row {row}"))
                row += 1


def _values(batch: Any) -> tuple[list[bytes | None], list[int | None]]:
    """Returns the encoded images and the labels of some rows, copied, so that none keeps the others in memory."""
    images = batch.column(0)
    encoded = images.to_pylist() if not hasattr(images, "field") else images.field("bytes").to_pylist()
    return encoded, batch.column(1).to_pylist() if batch.num_columns > 1 else [None] * len(encoded)
