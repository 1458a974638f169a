"""YAML as specs read it."""

import math

import pytest

from lipflow_core.errors import SpecError
from lipflow_core.specs.document import Origin, read_document


def read(text):
    return read_document(text, "a.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0E+3", 1000.0),
        (".5", 0.5),
        ("-2.", -2.0),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("yes", "yes"),
        ("off", "off"),
        ("True", True),
        ("~", None),
        ("", None),
        ("null", None),
        ("'1'", "1"),
        ("2026-11-23", "2026-11-23"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("-.INF", -math.inf),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    assert read(f"key: {text}").data == {"key": value}
    assert type(read(f"key: {text}").data["key"]) is type(value)


def test_not_a_number_is_read():
    assert math.isnan(read("key: .nan").data["key"])


def test_every_key_and_value_has_its_position():
    document = read("a: 1\nb:\n  - c: [2,\n      3]\n")
    assert document.keys["a",] == Origin("a.yaml", 1, 1)
    assert document.values["a",] == Origin("a.yaml", 1, 4)
    assert document.values["b", 0, "c", 1] == Origin("a.yaml", 4, 7)


def test_what_is_absent_is_looked_for_where_its_block_stands():
    assert str(read("a:\n  b: 1\n").origin(("a", "missing", "deeper"))) == "a.yaml:1:1"


def test_an_alias_repeats_its_value():
    assert read("a: &x {b: 1}\nc: *x").data == {"a": {"b": 1}, "c": {"b": 1}}


BOMB = "a: &a [1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + chr(ord(name) - 1)] * 8)}]\n" for name in "bcdefgh"
)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "1:1", "is empty"),
        ("# nothing\n", "1:1", "is empty"),
        ("a: 1\nb: 2\na: 3", "3:1", "'a' stands here a second time; the first is in line 1"),
        ("a: !new 1", "1:4", "tag '!new' is not known"),
        ("a: !!python/object/apply:os.system [ls]", "1:4", "tag '!!python/object/apply:os.system' is not known"),
        ("a: !!binary aGk=", "1:4", "tag '!!binary' is not known"),
        ("a: !!int x", "1:4", "'x' is tagged !!int but is not an integer"),
        ("a: &x [*x]", "1:4", "inside the value that it names"),
        ("a: &x {}\nb: {<<: *x}", "2:5", "merge keys"),
        (BOMB, "1:", "aliases make this document larger"),
        ("---\na: 1\n---\nb: 1", "3:1", "a second document begins here"),
        ("1: a", "1:1", "the key '1' is not a string"),
        ("true: a", "1:1", "the key 'true' is not a string"),
        ("? [a]\n: b", "1:3", "is not a string"),
        ("a: [1", "1:6", "is not valid YAML"),
        ("a: \x07", "1:4", "U+0007 is not allowed"),
        ("a: *x", "1:4", "undefined alias"),
        ("a: " + "[" * 100 + "]" * 100, "1:", "nested deeper than 64 levels"),
        ("a: " + "9" * 2000, "1:4", "more than 1000 digits"),
    ],
)
def test_what_no_spec_needs_is_refused_in_its_place(text, where, what):
    with pytest.raises(SpecError) as caught:
        read(text)
    assert str(caught.value).startswith(f"a.yaml:{where}")
    assert what in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 5000, b"\xff\xfe\xfa", "a: b\n" * 300_000])
def test_hostile_documents_end_in_a_message(text):
    with pytest.raises(SpecError, match=r"^a\.yaml"):
        read(text)
