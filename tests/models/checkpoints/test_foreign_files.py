"""Files and folders of other programs: each is named by its content, with what to do; none is called damaged."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from wrn_deploy.errors import DeployError
from wrn_deploy.models.checkpoints.weights import read_weights

NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
IMAGES = torch.zeros(1, 3, 8, 8)


def _script(file: Path) -> None:
    tools: Any = torch.jit  # without types
    tools.save(tools.trace(NET, IMAGES), str(file))


def _exported(file: Path) -> None:
    torch.export.save(torch.export.export(NET, (IMAGES,)), file.with_suffix(".pt2"))
    file.with_suffix(".pt2").rename(file)


def _onnx(file: Path) -> None:
    from onnx import TensorProto, helper, save

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    save(helper.make_model(graph, producer_name="pytorch"), file)


def _onnx_without_producer(file: Path) -> None:
    _onnx(file)
    import onnx

    model = onnx.load(file)
    model.ClearField("producer_name")
    file.write_bytes(model.SerializeToString())


def _keras(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("config.json", "metadata.json", "model.weights.h5"):
            archive.writestr(name, "{}")


def _zip_of_weights(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("run/best.pth", "x")


def _keras_hdf5(file: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as made:
        made["conv2d/conv2d/kernel:0"] = np.zeros((3, 3, 3, 16), np.float32)


def _keras_3_hdf5(file: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as made:
        made["layers/conv2d/vars/0"] = np.zeros((3, 3, 3, 16), np.float32)


def _flax_arrays(file: Path) -> None:
    with file.open("wb") as stream:
        arrays: Any = {"resnet/root_block/conv2d/kernel": np.zeros((3, 3, 3, 16), np.float32)}
        np.savez(stream, **arrays)


def _tar(file: Path) -> None:
    with tarfile.open(file, "w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())


def _one_array(file: Path) -> None:
    with file.open("wb") as stream:
        np.save(stream, np.zeros(3))


def _openvino_constants(file: Path) -> None:
    file.with_suffix(".xml").write_text("<net/>")
    file.write_bytes(np.ones(64, np.float32).tobytes())


FILES: list[tuple[str, bytes | str | Callable[[Path], None], str, str]] = [
    ("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 132349\n",
     "a Git LFS pointer", "git lfs pull"),
    ("page.pth", "<!DOCTYPE html><html><head><title>Google Drive</title></head></html>", "an HTML page",
     "download failed"),
    ("page.pth", "\ufeff\n  <HTML lang=en>", "an HTML page", "download failed"),
    ("w.pth", '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>', "a server's error",
     "download failed"),
    ("w.pth", '{"error": "Repository not found"}', "a server's error in JSON", "download failed"),
    ("w.pth", '{"message":"Not Found","status":"404"}', "a server's error in JSON", "download failed"),
    ("w.pth", "Entry not found", "text that begins with 'Entry not found'", "the weights themselves"),
    ("w.pth", "name: wrn\ndepth: 28\n", "text that begins with", "the weights themselves"),
    ("net.xml", '<?xml version="1.0"?>\n<net name="x" version="11">', "an OpenVINO graph", "state_dict()"),
    ("net.bin", _openvino_constants, "the constants of the OpenVINO graph", "state_dict()"),
    ("i.json", json.dumps({"metadata": {}, "weight_map": {"a": "b"}}), "a list of shards", "one dictionary"),
    ("config.json", json.dumps({"architecture": "x"}, indent=1), "JSON", "the weights next to it"),
    ("config.json", '{"abcdef{": 1}', "JSON", "the weights next to it"),  # its ninth byte is a brace
    ("labels.json", '["cat", "dog"]', "JSON", "the weights next to it"),
    ("net.onnx", _onnx, "an ONNX graph", "`wrn-deploy inspect`"),
    ("net.onnx", _onnx_without_producer, "an ONNX graph", "`wrn-deploy inspect`"),
    ("net.pt", _script, "TorchScript", "torch.jit.load"),
    ("net.pt2", _exported, "a program of torch.export", "state_dict()"),
    ("net.keras", _keras, "a Keras model", "numpy.savez"),
    ("net.h5", _keras_hdf5, "a file of Keras", "OIHW"),
    ("net.weights.h5", _keras_3_hdf5, "a file of Keras", "OIHW"),
    ("bit.npz", _flax_arrays, "a file of Keras, TensorFlow or flax", "OIHW"),
    ("net.pte", b"\x38\x00\x00\x00ET12" + bytes(20), "a program of ExecuTorch", "state_dict()"),
    ("w.zip", _zip_of_weights, "a zip archive with weights in it", "unpack it first"),
    ("flax_model.msgpack", b"\x81\xa6params\x81\xa5conv1\xc0" + bytes(40), "a msgpack file", "numpy.savez"),
    ("w.msgpack", b"\xde\x00\x12\xd9\x21" + b"a" * 33, "a msgpack file", "numpy.savez"),
    ("saved_model.pb", b"\x08\x01\x12\x80\x02\x0a\x10", "a SavedModel of TensorFlow", "numpy.savez"),
    ("frozen.pb", b"\x0a\x30\x0a\x05input\x12\x0bPlaceholder", "a frozen graph of TensorFlow", "numpy.savez"),
    ("net.caffemodel", b"\x0a\x09ResNet-50\xa2\x06", "weights of Caffe", "numpy.savez"),
    ("m.ckpt.data-00000-of-00001", bytes(range(200)), "a part of TensorFlow's checkpoint", "numpy.savez"),
    ("checkpoint", 'model_checkpoint_path: "m.ckpt"\n', "the list of TensorFlow's checkpoints", "numpy.savez"),
    ("net.tflite", b"\x20\x00\x00\x00TFL3" + bytes(20), "a TFLite graph", "numpy.savez"),
    ("net.mlmodel", b"\x08\x04\x12\x90\x01\x0a\x20", "a Core ML model", "state_dict()"),
    ("m.gguf", b"GGUF\x03\x00\x00\x00" + bytes(20), "a GGUF file", "quantized"),
    ("a.plan", b"ftrt\x00\x00\x00\x00" + bytes(20), "a TensorRT plan", "`wrn-deploy inspect`"),
    ("a.plan", b"vtrt\x00\x00\x00\x00\x02" + bytes(20), "a TensorRT plan", "`wrn-deploy inspect`"),
    ("w.t7", b"\x04\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00V 1", "a file of Torch 7", "torchfile"),
    ("w.params", b"\x12\x01" + bytes(6) + b"\x01", "a file of MXNet", "numpy.savez"),
    ("w.npy", _one_array, "one NumPy array", "numpy.savez"),
    ("w.mat", b"MATLAB 5.0 MAT-file" + bytes(100), "a MATLAB file", "numpy.savez"),
    ("w.tar", _tar, "a tar archive", "tar xf"),
    ("w.pth.gz", gzip.compress(b"x" * 100), "compressed with gzip", "gunzip"),
    ("w.xz", b"\xfd7zXZ\x00\x00\x04", "compressed with xz", "unxz"),
    ("w.zst", b"\x28\xb5\x2f\xfd" + bytes(20), "compressed with Zstandard", "unzstd"),
    ("w.7z", b"7z\xbc\xaf\x27\x1c" + bytes(20), "an archive", "unpack"),
    ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(20), "an image", "the weights first"),
    ("a.jpg", b"\xff\xd8\xff\xe0" + bytes(20), "an image", "the weights first"),
    ("w.parquet", b"PAR1" + bytes(20), "a parquet file", "not weights"),
    ("w.pkl", b"\x80\x04\x95\x10\x00\x00\x00" + bytes(20), "a pickle that torch.save did not write", "never run here"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "what", "remedy"),
    FILES,
    ids=[f"{what} {number}" for number, (_, _, what, _) in enumerate(FILES)],
)
def test_a_foreign_file_is_named_with_what_to_do(
    name: str, content: bytes | str | Callable[[Path], None], what: str, remedy: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    if isinstance(content, bytes | str):
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    else:
        content(file)
    _named(file, what, remedy)
    if not what.startswith(("a part of", "the constants")):  # the content counts, not the suffix
        _named(file.rename(tmp_path / "weights"), what, remedy)


@pytest.mark.parametrize(
    ("names", "what", "remedy"),
    [
        (["saved_model.pb", "keras_metadata.pb"], "a SavedModel of TensorFlow", "numpy.savez"),
        (["manifest.json", "fp32.onnx"], "a bundle's folder", "weights.safetensors"),
        (["model-00001-of-00002.safetensors", "model.safetensors.index.json"], "a folder of shards", "one dictionary"),
        (["__0_0.distcp", ".metadata"], "torch.distributed.checkpoint", "dcp_to_torch"),
        (["zero_to_fp32.py", "latest"], "a checkpoint of DeepSpeed", "zero_to_fp32.py . FILE"),
        (["data.pkl", "version"], "an unpacked file of torch.save", "zip -0 -r"),
        (["m.ckpt.data-00000-of-00001", "m.ckpt.index"], "a checkpoint of TensorFlow", "numpy.savez"),
        (["_METADATA", "d"], "a checkpoint of Orbax", "numpy.savez"),
        (["config.json", "model.safetensors"], "a folder", "give one of its files: model.safetensors"),
        (["a.txt"], "a folder", "there is none in it"),
        ([], "an empty folder", "there is none in it"),
    ],
)
def test_a_folder_is_named_with_what_to_do(names: list[str], what: str, remedy: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    _named(tmp_path, what, remedy)


def test_what_is_not_a_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pth")  # whose reader would wait for ever
    with pytest.raises(DeployError, match=r"w\.pth is not a regular file: expected a \.safetensors"):
        read_weights(tmp_path / "w.pth")


def test_a_text_made_to_be_slow_is_looked_at_quickly(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("<!---->" * 580 + "x", encoding="utf-8")
    began = time.monotonic()
    with pytest.raises(DeployError, match="text that begins with"):
        read_weights(tmp_path / "w")
    assert time.monotonic() - began < 5


def test_arrays_of_numpy_in_a_file_of_torch_save_are_read(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "plain": np.arange(6, dtype=np.float32).reshape(2, 3),
        "half": np.ones((2, 2), np.float16),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
    }
    torch.save({"state": {**arrays, "name": np.array(["a"]), "more": np.array([{}], object)}}, tmp_path / "w.pth")
    checkpoint = read_weights(tmp_path / "w.pth")
    assert checkpoint.states.keys() == {"state"}
    assert checkpoint.tensors.keys() == arrays.keys()
    for key, array in arrays.items():
        assert torch.equal(checkpoint.tensors[key], torch.from_numpy(array.astype(array.dtype.newbyteorder("="))))
    assert not any("numpy" in name for name in checkpoint.passed_over)


def _named(path: Path, what: str, remedy: str) -> None:
    with pytest.raises(DeployError) as error:
        read_weights(path)
    text = str(error.value)
    assert text.startswith(f"{path} is {what}") or (path.is_dir() and what in text)
    assert remedy in text
    assert "expected a .safetensors, .pth, .npz or HDF5 file" in text


class _Repeated:
    """Pickles as an array whose content is given by another's text, encoded anew."""

    def __init__(self, content: str) -> None:
        self.content = content

    def __reduce__(self) -> Any:
        array: Any = np.zeros(0, np.uint8)
        make, given, state = array.__reduce__()
        return make, given, (*state[:1], (len(self.content),), *state[2:4], _Encoded(self.content))


class _Encoded:
    def __init__(self, content: str) -> None:
        self.content = content

    def __reduce__(self) -> Any:
        return codecs.encode, (self.content, "latin1")


def test_arrays_hold_no_more_than_the_file(tmp_path: Path) -> None:
    content = "a" * 100_000
    torch.save({str(number): _Repeated(content) for number in range(1000)}, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").stat().st_size < 300_000
    with pytest.raises(DeployError, match="its arrays hold more bytes than it has"):
        read_weights(tmp_path / "w.pth")
