"""Which bindings a message matches: one function for each type of exchange. No I/O, no state."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple

__all__ = ["MATCHES", "Binding", "topic_matches"]


class Binding(NamedTuple):
    """From an exchange to a queue or to another exchange."""

    destination_kind: str  # "queue" or "exchange"
    destination: str
    routing_key: str
    arguments: Mapping[str, Any]


def topic_matches(pattern: str, routing_key: str) -> bool:
    """Words between dots; `*` stands for one word, `#` for any number of them (0-9-1, section 3.1.3.3).

    An empty key is no words at all, as RabbitMQ sees it.
    """
    words = routing_key.split(".") if routing_key else []
    wanted = pattern.split(".") if pattern else []
    # the prefixes of `words`, by length, that the pattern's words so far match
    reached = [True] + [False] * len(words)
    for want in wanted:
        if want == "#":
            for n in range(1, len(reached)):
                reached[n] = reached[n] or reached[n - 1]
        else:
            reached = [False] + [was and (want == "*" or want == word) for was, word in zip(reached, words)]
    return reached[-1]


def headers_match(arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """x-match says whether all or any must fit; names with x- do not count unless it is all-with-x or any-with-x.

    A field of the binding without a value (None) is there to be present (0-9-1, section 3.1.3.4).
    """
    how = arguments.get("x-match", "all")
    with_x = isinstance(how, str) and how.endswith("-with-x")
    found: List[bool] = [
        name in headers and (value is None or _equal(value, headers[name]))
        for name, value in arguments.items()
        if name != "x-match" and (with_x or not name.startswith("x-"))
    ]
    return any(found) if how in ("any", "any-with-x") else all(found)


def _equal(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(_octets(one) == _octets(other))


def _octets(value: Any) -> Any:
    # text and bytes are the same to RabbitMQ
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


#: type of exchange -> does a binding take a message with this key and these headers?
MATCHES: Dict[str, Callable[[Binding, str, Mapping[str, Any]], bool]] = {
    "direct": lambda binding, key, headers: binding.routing_key == key,
    "fanout": lambda binding, key, headers: True,
    "topic": lambda binding, key, headers: topic_matches(binding.routing_key, key),
    "headers": lambda binding, key, headers: headers_match(binding.arguments, headers),
}
