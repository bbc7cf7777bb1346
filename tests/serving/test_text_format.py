"""Configurations in protobuf's text format: what is written is read back, and NVIDIA's own messages agree."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serving.environment import run_client
from wrn_deploy.errors import DamagedFile, OverLimit
from wrn_deploy.files.budget import raised
from wrn_deploy.serving.config import ServedModel, TritonBackend, make_config
from wrn_deploy.serving.schema import enums
from wrn_deploy.serving.text_format import parse_config
from wrn_deploy.serving.text_writer import write_config
from wrn_deploy.spec import TensorSpec

CONFIG = make_config(
    ServedModel(
        name="wrn-16-2",
        backend=TritonBackend.TENSORRT,
        file="int8-tensorrt.plan",
        inputs=TensorSpec("images", "uint8", (32, 32, 3)),
        outputs=(TensorSpec("logits", "float32", (10,)),),
        max_batch=32,
        labels=True,
        instances=2,
        gpus=(0, 1),
        on_gpu=True,
        facts={"tools": 'a "quoted" \\ name, an é and a\nline'},
    )
)

# Texts that both readers take, with what they mean; and texts that both refuse, with our words.
GOOD: dict[str, tuple[str, dict[str, Any] | None]] = {
    "comments and brackets": ('name: "a" # here\ninput [ { name: "i" dims: [ 3, 0x20, 040 ] }, { name: "j" } ]', None),
    "quotes and joined texts": ("name: 'a' \"b\\x41\\n\"", {"name": "abA\n"}),
    "angles, colons and semicolons": ("name: 'a'; dynamic_batching: < preserve_ordering: true >", None),
    "an enum by number": ("input { data_type: 11 }", {"input": [{"data_type": "TYPE_FP32"}]}),
    "an entry without a value": ("parameters { key: 'a' }", {"parameters": {"a": {}}}),
    "a list of texts": ("instance_group { profile: ['0', '1'] kind: KIND_GPU }", None),
    "nothing": ("", {}),
}
BAD = {
    'max_batchsize: 8 name: "a"': "line 1: ModelConfig has no field 'max_batchsize'",
    'name: "a"\ninput { data_type: FP32 }': "line 2: data_type is FP32: expected one of TYPE_INVALID, TYPE_BOOL",
    'max_batch_size: "8"': "expected max_batch_size: a value of type int32",
    "max_batch_size: 3000000000": "expected an integer from -2147483648",
    "max_batch_size: 8.5": "expected an integer from",
    "name: a": "'a': expected name: a text in quotes",
    'name: "a" name: "b"': "name is set twice",
    'input [ { name: "i" ': "expected the name of a field",
    "instance_group { profile: [0] }": "profile: a text in quotes",
    "version_policy { latest { } all { } }": "latest and all are both set",
    "dynamic_batching { preserve_ordering: yes }": "expected true or false",
    "input { dims: [3, 3": "a comma or ]",
    "name 'a'": "name has no value: expected a colon",
    "max_batch_size: 8 }": "expected the name of a field",
    "input: 3": "expected {",
    "parameters { key: 'a' key: 'b' }": "expected one key and one value",
    "\x00": "cannot read",
}


def test_what_is_written_is_read_back() -> None:
    assert parse_config(write_config(CONFIG), "config.pbtxt") == CONFIG


@given(st.text(max_size=20), st.integers(-(2**31), 2**31 - 1), st.booleans(), st.lists(st.integers(-1, 2**40)))
def test_any_values_are_read_back(text: str, number: int, truth: bool, numbers: list[int]) -> None:
    config = {
        "name": text,
        "max_batch_size": number,
        "input": [{"dims": numbers, "allow_ragged_batch": truth}],
        "parameters": {text: {"string_value": text}},
    }
    assert parse_config(write_config(config), "config.pbtxt") == config


@pytest.mark.parametrize(("text", "meaning"), GOOD.values(), ids=GOOD)
def test_what_the_format_allows_is_read(text: str, meaning: dict[str, Any] | None) -> None:
    found = parse_config(text, "config.pbtxt")
    assert meaning is None or found == meaning


@pytest.mark.parametrize(("text", "words"), BAD.items(), ids=BAD)
def test_what_the_schema_forbids_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(DamagedFile) as caught:
        parse_config(text, "config.pbtxt")
    assert words in str(caught.value)


@given(st.text(alphabet='ab1:{}[]<>,;"\\ #\n.-', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(DamagedFile):
        parse_config(text, "config.pbtxt")


def test_deep_nesting_is_refused() -> None:
    text = "optimization { cuda { graph_spec { batch_size: 1 } } }"
    parse_config(text, "config.pbtxt")
    with raised("nesting=2"), pytest.raises(OverLimit, match="levels of nesting"):
        parse_config(text, "config.pbtxt")


def test_nvidias_messages_read_the_same_and_refuse_the_same() -> None:
    code = """
import json, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
found = []
for text in json.loads(sys.argv[1]):
    try:
        message = text_format.Parse(text, model_config_pb2.ModelConfig())
        found.append(json_format.MessageToDict(message, preserving_proto_field_name=True))
    except text_format.ParseError:
        found.append(None)
print(json.dumps(found))
"""
    good = [write_config(CONFIG), *(text for text, _ in GOOD.values())]
    bad = [text for text in BAD if "\x00" not in text]
    theirs = run_client(code, json.dumps([*good, *bad]))
    ours = [json.loads(json.dumps(parse_config(text, "x"))) for text in good]
    assert [_plain(each) for each in theirs[: len(good)]] == [_plain(each) for each in ours]
    assert dict(zip(bad, theirs[len(good) :], strict=True)) == dict.fromkeys(bad)


def test_the_table_of_fields_is_that_of_nvidias_messages() -> None:
    code = """
import json
from tritonclient.grpc import model_config_pb2
found, waiting, enums = {}, [model_config_pb2.ModelConfig.DESCRIPTOR], {}
while waiting:
    message = waiting.pop()
    waiting += [field.message_type for field in message.fields if field.message_type and message.full_name not in found]
    found[message.full_name] = message.GetOptions().map_entry or sorted(field.name for field in message.fields)
    for kind in filter(None, (field.enum_type for field in message.fields)):
        enums[kind.full_name] = {value.name: value.number for value in kind.values}
plain = lambda names: {name.removeprefix("inference."): each for name, each in names.items() if each is not True}
print(json.dumps([plain(found), plain(enums)]))
"""
    messages, names = run_client(code)
    table = json.loads((Path(__file__).parents[2] / "wrn_deploy/serving/model_config.json").read_text())
    assert {name: sorted(set(fields) - {"|"}) for name, fields in table["messages"].items()} == messages
    assert enums() == names


def _plain(config: Any) -> Any:
    """Without what protobuf's JSON writes differently: integers of 64 bits as texts, empty messages and defaults."""
    if isinstance(config, dict):
        items = {name: _plain(value) for name, value in config.items()}
        return {name: value for name, value in items.items() if value not in ({}, [], "", "0", "False")}
    return [_plain(each) for each in config] if isinstance(config, list) else str(config)
