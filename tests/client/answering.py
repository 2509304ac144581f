"""A peer that answers whatever comes, for tests in which many threads call at once."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from .frozen import read_properties
from .peer import Content, Peer, content, method

__all__ = ["AnsweringPeer"]


class AnsweringPeer(Peer):
    """Answers all calls, in a way that shows which call it was; keeps the messages that are published."""

    def __init__(self) -> None:
        #: channel -> (message_id, body) of all that was published on it
        self.published: Dict[int, List[Tuple[Any, bytes]]] = {}
        super().__init__()

    def answer_all(self) -> None:
        """Until the client closes the connection."""
        self.do(self._answer_all)

    def _answer_all(self) -> None:
        closing = False
        while not closing:
            kind, channel, payload = self.frame("a method")
            assert kind == 1, "a frame of type %d on channel %d where a method was due" % (kind, channel)
            name, args = self.dialect.read_method(payload)
            closing = name == "connection.close"
            reply = b""
            if name == "basic.publish":
                self._keep(channel)
            elif name == "queue.declare":
                reply = method("queue.declare_ok", args[1], channel, len(args[1]), channel=channel)
            elif name == "basic.get":
                message: Content = {}, args[1].encode()
                reply = content("basic.get_ok", 1, False, "", args[1], 0, message=message, channel=channel)
            elif self.dialect.answer_to(name):
                reply = method(self.dialect.answer_to(name), channel=channel)
            self._connected().sendall(reply)

    def _keep(self, channel: int) -> None:
        kind, number, payload = self.frame("a header")
        assert (kind, number) == (2, channel), "a frame of type %d on channel %d in a content" % (kind, number)
        size = int.from_bytes(payload[4:12], "big")
        body = b""
        while len(body) < size:
            kind, number, piece = self.frame("a body")
            assert (kind, number) == (3, channel), "a frame of type %d on channel %d in a content" % (kind, number)
            body += piece
        properties = read_properties(payload)
        self.published.setdefault(channel, []).append((properties.get("message_id"), body))
