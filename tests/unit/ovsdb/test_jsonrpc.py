"""A stream becomes the same JSON-RPC messages however the network cuts it."""

import itertools
import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovn_docker.errors import DatabaseError
from ovn_docker.ovsdb import jsonrpc
from ovn_docker.ovsdb.jsonrpc import Decoder, Message, encode

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ['"', "\\", '\\"', "{", "}", "{}", '"}', "\\\\", "ü{", "\u2028", "\U0001f40b"]
)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
messages = st.lists(st.dictionaries(texts, json_values, max_size=3), max_size=5)
spaces = st.sampled_from([b"", b" ", b"\n", b"\r\n\t"])


def feed(stream: bytes, cuts: list[int]) -> list[Message]:
    decoder = Decoder()
    ends = [0, *sorted(cuts), len(stream)]
    return [message for start, end in itertools.pairwise(ends) for message in decoder.feed(stream[start:end])]


@settings(max_examples=60)
@given(st.data(), messages, spaces)
def test_any_stream_cut_anywhere_gives_the_same_messages(
    data: st.DataObject, sent: list[dict[str, Any]], space: bytes
) -> None:
    stream = b"".join(encode(message) + space for message in sent)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    assert feed(stream, cuts) == sent


names = st.text(st.sampled_from('ab{}"\\ü'), max_size=20)
pairs = st.lists(st.lists(names, min_size=2, max_size=2), max_size=8)


@settings(max_examples=60)
@given(st.data(), st.lists(pairs, min_size=1, max_size=8), st.integers(1, 400))
def test_a_long_update_cut_at_random_is_whole_again(
    data: st.DataObject, maps: list[list[list[str]]], rows: int
) -> None:
    """As ovsdb-server sends it to who begins to watch: hundreds of rows in one message."""
    update = {
        f"{number:08x}": {"initial": {"ofport": number, "external_ids": ["map", maps[number % len(maps)]]}}
        for number in range(rows)
    }
    sent: list[Message] = [{"method": "update2", "params": ["db", "db", {"Interface": update}]}, {"id": 1}]
    stream = b"".join(map(encode, sent))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    assert feed(stream, cuts) == sent


@settings(max_examples=40)
@given(messages)
def test_a_stream_that_comes_byte_by_byte_gives_the_same_messages(sent: list[dict[str, Any]]) -> None:
    stream = b"".join(map(encode, sent))
    assert feed(stream, list(range(len(stream)))) == sent


@given(json_values)
def test_escapes_of_any_writer_are_understood(value: Any) -> None:  # noqa: ANN401  (a JSON value)
    """ovsdb-server escapes more than we do: every character may come as \\uXXXX."""
    spelled = json.dumps({"a": value}, ensure_ascii=True).encode()
    assert spelled.isascii()
    assert feed(spelled, [len(spelled) // 2]) == [{"a": value}]


def test_a_message_nested_too_deep_is_refused_as_not_ovsdb() -> None:
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    with pytest.raises(DatabaseError, match="does not speak OVSDB"):
        Decoder().feed(deep)


def test_a_message_comes_out_as_soon_as_its_last_brace_is_in() -> None:
    decoder = Decoder()
    assert decoder.feed(b'{"a":{"b":"}"}') == []
    assert decoder.feed(b"}{") == [{"a": {"b": "}"}}]
    assert decoder.feed(b"}") == [{}]


@pytest.mark.parametrize("stream", [b"{]}", b'{"a" 1}', b"[1]{}", b"nonsense{}", b'{"a":"\xff"}', b"{}x{}"])
def test_what_is_not_json_is_refused_as_not_ovsdb(stream: bytes) -> None:
    with pytest.raises(DatabaseError, match="does not speak OVSDB"):
        Decoder().feed(stream)


def test_an_unmatched_brace_is_refused_as_not_ovsdb() -> None:
    with pytest.raises(DatabaseError, match="does not speak OVSDB"):
        Decoder().feed(b"}{}")


def test_a_message_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonrpc, "MAXIMUM_MESSAGE", 1000)
    decoder = Decoder()
    decoder.feed(b'{"a":"' + b"x" * 900)
    with pytest.raises(DatabaseError, match="is not an OVSDB server"):
        decoder.feed(b"x" * 100)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "filling",
    [
        b'"xxxxxxxxxxxxxxxxxxxxxxxxxxxx",',
        b'"x\\"",',
        b'"",',
        b"[],",
        b'{"":1},',
        b'{"{":"}"},',
        b"1" * 50 + b",",
    ],
)
def test_a_long_message_costs_as_much_in_many_reads_as_in_one(filling: bytes) -> None:
    """4 MB in reads of 400 bytes: who begins anew with each looks at 20 GB, which takes minutes."""
    count = (4 << 20) // len(filling)
    stream = b'{"a":[' + filling * count + b"0]}"
    [message] = feed(stream, list(range(0, len(stream), 400)))
    assert len(message["a"]) == count + 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("filling", [b"x", b'\\"', b"\\\\", b"{"])
def test_a_long_text_costs_as_much_in_many_reads_as_in_one(filling: bytes) -> None:
    """10 MB in 10,000 reads."""
    text = filling * (10_000_000 // len(filling))
    [message] = feed(b'{"a":"' + text + b'"}', list(range(5, len(text), 1001)))
    assert len(message["a"]) == len(text) // len(filling) * len(json.loads(b'"' + filling + b'"'))


def test_a_read_full_of_strings_needs_no_more_memory_than_itself() -> None:
    """The matcher may remember each turn of a group, so as to take it back: 60 bytes for each."""
    stream = b'{"a":[' + b'"",' * 100_000
    tracemalloc.start()
    try:
        Decoder().feed(stream)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10 * len(stream)


def test_encode_writes_what_any_json_reader_reads() -> None:
    message = {"method": "transact", "params": ["db", {"op": "wait", "rows": ()}], "id": 1}
    assert msgspec.json.decode(encode(message)) == message | {"params": ["db", {"op": "wait", "rows": []}]}
