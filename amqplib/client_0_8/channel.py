"""Channel with the signatures of amqplib 1.0, beside names that programs imported from here."""

from __future__ import annotations

from typing import ClassVar, Literal, Optional, Tuple, cast, overload

from ..client import channel
from ..client.channel_methods import Arguments
from ..client.logger import LOGGER
from .abstract_channel import AbstractChannel
from .basic_message import Message
from .exceptions import AMQPChannelException, AMQPConnectionException, AMQPException

__all__ = ["AMQPChannelException", "AMQPConnectionException", "AMQPException", "AbstractChannel", "Channel"]


class _Unsaid(int):
    """The default of auto_delete, which is True, and can be told from a True that was given."""

    def __repr__(self) -> str:
        return "True"


_TRUE = cast(bool, _Unsaid(True))

#: So many times in a process it is said what that default means. A program may declare its queue before each publish.
_MOST_WARNINGS = 100
_warnings = 0


def _warn(what: str, name: str, durable: bool, auto_delete: bool, passive: bool) -> None:
    global _warnings
    if auto_delete is not _TRUE or not durable or passive or _warnings >= _MOST_WARNINGS:
        return
    _warnings += 1
    text = "%s: auto_delete was not given, and is True: durable or not, it goes with its last %s. Write "
    text += "auto_delete=False to keep it, or auto_delete=True to have this said no more"
    if _warnings == _MOST_WARNINGS:
        text += "; and after %d warnings it is not" % _MOST_WARNINGS
    last = "consumer, and its messages with it" if what == "queue" else "binding"
    LOGGER.warning(text, "%s %r" % (what, name), last)


def _with_default(text: Optional[str]) -> str:
    return (text or "").rstrip() + "\n        auto_delete is True unless given, as in amqplib 1.0.\n        "


class Channel(channel.Channel[Message], AbstractChannel):
    __doc__ = channel.Channel.__doc__

    _amqplib_refuses: ClassVar[bool] = False

    # What 1.0 wanted given, or had another default for, or returned, and the class that this derives from does not.

    def exchange_declare(  # type: ignore[override]
        self,
        exchange: str,
        type: str,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = _TRUE,
        internal: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> None:
        _warn("exchange", exchange, durable, auto_delete, passive)
        super().exchange_declare(exchange, type, passive, durable, auto_delete, internal, nowait, arguments, ticket)

    @overload  # type: ignore[override]
    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        nowait: Literal[False] = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> Tuple[str, int, int]: ...

    @overload
    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> Optional[Tuple[str, int, int]]: ...

    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = _TRUE,
        nowait: bool = False,
        arguments: Arguments = None,
        ticket: Optional[int] = None,
    ) -> Optional[Tuple[str, int, int]]:
        _warn("queue", queue, durable, auto_delete, passive)
        facts = super().queue_declare(queue, passive, durable, exclusive, auto_delete, nowait, arguments, ticket)
        return None if facts is None else (facts[0], facts[1], facts[2])

    def basic_qos(self, prefetch_size: int, prefetch_count: int, a_global: bool) -> None:  # type: ignore[override]
        super().basic_qos(prefetch_size, prefetch_count, a_global)

    def basic_reject(self, delivery_tag: int, requeue: bool) -> None:  # type: ignore[override]
        super().basic_reject(delivery_tag, requeue)

    exchange_declare.__doc__ = _with_default(channel.Channel.exchange_declare.__doc__)
    queue_declare.__doc__ = _with_default(channel.Channel.queue_declare.__doc__)
    basic_qos.__doc__ = channel.Channel.basic_qos.__doc__
    basic_reject.__doc__ = channel.Channel.basic_reject.__doc__
