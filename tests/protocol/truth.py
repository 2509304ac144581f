"""What really became of published messages, and what a client that was told in any order may say of them.

A returned message names no tag. So of messages that are alike a client cannot always know which one came back, but it
must never take one for safe that is not: that is checked by their number. It has to name the very tag where the
server acknowledges what it returned before it acknowledges another that is alike, as RabbitMQ does.
"""

from __future__ import annotations

from typing import Collection, Dict, Hashable, Optional, Set

__all__ = ["Truth"]


class Truth:
    """The server's side: the fate of every tag."""

    def __init__(self) -> None:
        #: tag -> all that is to be seen of a mandatory message, None for others, which never come back
        self.sent: Dict[int, Optional[Hashable]] = {}
        self.outstanding: Set[int] = set()
        self.acked: Set[int] = set()  # without those that came back
        self.nacked: Set[int] = set()
        self.returned: Set[int] = set()
        self._ambiguous: Set[Hashable] = set()

    def publish(self, looks: Optional[Hashable]) -> int:
        """A message arrives; its tag."""
        tag = len(self.sent) + 1
        self.sent[tag] = looks
        self.outstanding.add(tag)
        return tag

    def take_back(self) -> None:
        """The newest never arrived."""
        tag = len(self.sent)
        self.outstanding.remove(tag)
        del self.sent[tag]

    def returnable(self) -> Set[int]:
        return {tag for tag in self.outstanding - self.returned if self.sent[tag] is not None}

    def give_back(self, tag: int) -> None:
        """No queue takes it."""
        self.returned.add(tag)

    def may_refuse(self, tag: int, multiple: bool) -> bool:
        """Nobody refuses what came back."""
        return not self._concerned(tag, multiple) & self.returned

    def settle(self, tag: int, multiple: bool, ack: bool) -> None:
        """The server acknowledges or refuses."""
        concerned = self._concerned(tag, multiple)
        owed = {self.sent[one] for one in self.outstanding & self.returned}
        if ack:
            self._ambiguous |= {self.sent[one] for one in concerned - self.returned} & owed
        self.outstanding -= concerned
        (self.acked if ack else self.nacked).update(concerned - self.returned)

    def _concerned(self, tag: int, multiple: bool) -> Set[int]:
        return {one for one in self.outstanding if one == tag or (multiple and one < tag)}

    def compare(self, acked: Collection[int], nacked: Collection[int], returned: Collection[int]) -> None:
        """With what a client says that has heard everything."""
        told = [*acked, *nacked, *returned]
        assert len(set(told)) == len(told), "a tag has two fates"
        assert set(nacked) == self.nacked
        for looks in {*self.sent.values()}:
            alike = {tag for tag, its_looks in self.sent.items() if its_looks == looks}
            safe, back = alike & set(acked), alike & set(returned)
            assert len(safe) <= len(alike & self.acked), "a message that is lost was called safe"
            if not alike & self.outstanding:
                assert len(safe) == len(alike & self.acked)
                assert len(back) == len(alike & self.returned)
            if looks is None or looks not in self._ambiguous:
                assert safe == alike & self.acked
                assert back <= self.returned
                assert back >= alike & self.returned - self.outstanding
