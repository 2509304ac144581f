"""Proves that names of encodings, which strangers choose, leave nothing behind, and that all codecs are found."""

from __future__ import annotations

import codecs
import encodings
import pkgutil
import sys
from encodings.aliases import aliases
from typing import Any, Callable, Dict, Iterator, Optional

import pytest

import amqplib.client_0_8 as amqp
from amqplib.client.codec_names import MOST_STRANGERS, CodecNames
from amqplib.client.message import decode_body, encode_body

COUNT = 5000


def number_in(text: str) -> Callable[[int], str]:
    return lambda number: text % number


def spelled(number: int) -> str:
    """A spelling of utf_8 that is like no other: Python has one entry for each."""
    return "utf" + format(number, "b").translate({ord("0"): "-", ord("1"): "!"}) + "8"


def cased(name: str, number: int) -> str:
    """The name with some of its letters large."""
    return "".join(c.upper() if number >> place & 1 else c for place, c in enumerate(name))


FLOODS: Dict[str, Callable[[int], str]] = {
    "no codecs": number_in("gzip%d"),
    "long ones": lambda number: ("x%d" % number).ljust(255, "y"),
    "modules that there are not": number_in("utf_8.x%d"),
    "in other alphabets": number_in("\u0444%d"),
    "spellings of a codec": spelled,
    "cases of a codec": lambda number: cased("iso_8859_15" + "_" * (number >> 8), number & 255),
    "spellings of an alias": lambda number: spelled(number) + " " * (number % 7),
}


def receive(encoding: str) -> Any:
    msg = amqp.Message(b"x", content_encoding=encoding)
    decode_body(msg)
    return msg.body


def send(encoding: str) -> Any:
    """As a program does that answers in the encoding in which it was asked."""
    try:
        return encode_body(amqp.Message("x", content_encoding=encoding))
    except ValueError:
        return None


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("function", [receive, send])
def test_a_flood_of_names_leaves_nothing(function: Callable[[str], Any], flood: str) -> None:
    name = FLOODS[flood]
    for number in range(700):  # what is remembered is remembered
        function(name(number))
    cache: Dict[str, Any] = vars(encodings)["_cache"]
    known = len(cache)
    tracemalloc = pytest.importorskip("tracemalloc", reason="PyPy does not count what is allocated")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1000, 1000 + COUNT):
            function(name(number))
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(cache) == known
    assert left < 300_000  # the names remembered now are others; Python's own memory would be six times that


def test_bodies_are_had_all_the_same() -> None:
    for number in range(MOST_STRANGERS + 10):
        assert receive("not-a-codec-%d" % number) == b"x"
    assert receive("utf-8-sig") == receive("Latin 1") == "x"


def test_every_codec_is_found() -> None:
    """By every name that Python itself takes."""
    names = CodecNames()
    modules = {module.name for module in pkgutil.iter_modules(encodings.__path__)} - {"aliases"}
    for name in sorted({*aliases, *aliases.values(), *modules}):
        for spelling in (name, name.upper(), name.replace("_", "-"), name.replace("_", " "), " %s-" % name):
            try:
                expected: Optional[str] = codecs.lookup(spelling).name
            except LookupError:  # of another system
                continue
            found = names.find(spelling)
            assert found is not None
            assert codecs.lookup(found).name == expected


@pytest.fixture
def own_codec() -> Iterator[str]:
    """A codec that the program has registered."""

    def search(name: str) -> Optional[codecs.CodecInfo]:
        if name.replace("-", "_") != "amqplib_test_codec":
            return None
        ascii = codecs.lookup("ascii")
        return codecs.CodecInfo(ascii.encode, ascii.decode, name="amqplib-test-codec")

    codecs.register(search)
    yield "amqplib-test-codec"
    if sys.version_info >= (3, 10):
        codecs.unregister(search)


def test_a_codec_of_the_programs_own(own_codec: str) -> None:
    names = CodecNames()
    assert names.find(own_codec) == own_codec
    assert names.find(own_codec.upper()) == own_codec
    for number in range(2 * MOST_STRANGERS):
        assert names.find("flood%d" % number) is None
    assert names.find(own_codec) == own_codec
    late = CodecNames()
    for number in range(2 * MOST_STRANGERS):
        late.find("flood%d" % number)
    assert late.find(own_codec) is None  # the price, if strangers were faster


@pytest.mark.parametrize(
    "name", ["", ".", "..", "utf\08", "\udcff", "utf-8\u00e9", "hex", "zlib", 5, b"utf-8", "undefined"]
)
def test_what_is_none_of_text(name: Any) -> None:
    assert receive(name) == b"x"
    with pytest.raises(ValueError, match=r"content_encoding|encod"):
        encode_body(amqp.Message("x", content_encoding=name))
