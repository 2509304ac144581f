"""Connection with the arguments, defaults and leniency of amqplib 1.0."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Dict, Optional, Union

from ..client import connection
from ..client.address import Address
from ..client.deadline import Deadline
from ..client.transport import Transport
from . import transport
from .method_framing import MethodReader, MethodWriter
from .transport import create_transport

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Connection"]


class Connection(connection.Connection):
    __doc__ = connection.Connection.__doc__

    def __init__(
        self,
        host: str = "localhost",
        userid: str = "guest",
        password: str = "guest",
        login_method: str = "AMQPLAIN",
        login_response: Optional[Union[bytes, str]] = None,
        virtual_host: str = "/",
        locale: str = "en_US",
        client_properties: Optional[Dict[str, Any]] = None,
        ssl: Union[bool, Dict[str, Any], SSLContext, None] = False,
        insist: bool = False,
        connect_timeout: Optional[float] = None,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            # 1.0 took them without a word, and programs do pass what was never there
            names = ", ".join(sorted(kwargs))
            warnings.warn("Connection has no argument %s: ignored" % names, stacklevel=2)
        super().__init__(
            host,
            userid,
            password,
            login_method,
            login_response,
            virtual_host,
            locale,
            client_properties,
            ssl,
            insist,
            connect_timeout,
        )

    def _open_transport(self, address: Address, deadline: Deadline) -> Transport:
        return create_transport(address, self._ssl, deadline)

    def _protocol_header(self) -> bytes:
        return transport.AMQP_PROTOCOL_HEADER

    @property
    def method_reader(self) -> MethodReader:
        """Reads methods of any channel."""
        return MethodReader(self)

    @property
    def method_writer(self) -> MethodWriter:
        """Writes methods of any channel."""
        return MethodWriter(self)
