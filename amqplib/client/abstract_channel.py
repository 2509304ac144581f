"""What connections and channels share: a line, methods that arrive and have handlers, the with-statement."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Callable, ClassVar, Dict, List, Optional, Type, TypeVar

from ..wire.spec import Sig
from .exceptions import AMQPChannelException, AMQPException
from .line import Line
from .logger import LOGGER
from .message import decode_body
from .method_names import method_name

__all__ = ["AbstractChannel"]

SelfT = TypeVar("SelfT", bound="AbstractChannel")


class AbstractChannel:
    """Base of Connection (which is channel 0) and Channel."""

    #: 0-8 (class id, method id) -> function(channel, args[, content]) for each method that may arrive.
    _METHOD_MAP: ClassVar[Dict[Sig, Callable[..., Any]]] = {}

    #: Is a body with a content_encoding decoded to str? May be set at any time.
    auto_decode: bool

    #: All of ours, under the one private name that there is.
    _amqplib: Line

    def __repr__(self) -> str:
        line: Optional[Line] = self.__dict__.get("_amqplib")
        name = type(self).__name__
        return "<%s %s>" % (name, line.said()) if line else "<%s, not opened yet>" % name

    def __enter__(self: SelfT) -> SelfT:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        if "_amqplib" not in self.__dict__:  # it was never made
            self.close()
            return
        if kind is None:
            self._amqplib.leave(self.close, False)
            return
        try:
            self._amqplib.leave(self.close, True)
        except AMQPChannelException as exc:
            # what the with-block raised matters more, but may have nothing to do with it; and nobody else tells this
            LOGGER.warning("%s", exc)
        except (AMQPException, OSError) as exc:
            # most likely for the same reason
            LOGGER.debug("closing after %s: %s", kind.__name__, exc)

    def __dir__(self) -> List[str]:
        """What a program may use, and Python's own."""
        return [name for name in super().__dir__() if not name.startswith("_") or name.startswith("__")]

    def close(
        self, reply_code: int = 0, reply_text: str = "", method_sig: Sig = (0, 0), timeout: Optional[float] = None
    ) -> None:
        """End this."""
        raise NotImplementedError

    def pending(self) -> int:
        """How many methods have arrived and can be handled by wait() without reading from the network.

        A program that select()s on conn.transport.sock has to do so only while this is 0: what has been read from the
        socket, by any call, does not make it readable again.
        """
        return len(self._amqplib.port.inbox)

    def _amqplib_dispatch(self, method_sig: Sig, args: Any, content: Any) -> Any:
        """Pass a method to its handler; what the handler returns."""
        handler = self._METHOD_MAP.get(method_sig)
        if handler is None:
            name = method_name(method_sig) or method_sig
            if self._amqplib.port.is_first(method_sig):
                LOGGER.warning("%s: %s is not for a client, ignored", self._amqplib.where, name)
            return None
        if content is None:
            return handler(self, args)
        if self.auto_decode:
            decode_body(content)
        return handler(self, args, content)
