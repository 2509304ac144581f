"""AbstractChannel under its old path, with what programs that handle methods by themselves have of it."""

from __future__ import annotations

from typing import Any, List

from ..client import abstract_channel
from ..wire.spec import Sig

__all__ = ["AbstractChannel"]


class AbstractChannel(abstract_channel.AbstractChannel):
    """Base of Connection (which is channel 0) and Channel."""

    def __dir__(self) -> List[str]:
        return list(object.__dir__(self))  # all of it, as ever

    @property
    def method_queue(self) -> Any:
        """Methods that have arrived and wait to be handled: (method signature, arguments, content)."""
        return self._amqplib.port.inbox

    def dispatch_method(self, method_sig: Sig, args: Any, content: Any) -> Any:
        """Pass a method to its handler; what the handler returns."""
        return super()._amqplib_dispatch(method_sig, args, content)

    def _amqplib_dispatch(self, method_sig: Sig, args: Any, content: Any) -> Any:
        return self.dispatch_method(method_sig, args, content)  # which a program may have overridden
