"""Connection with today's defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, Optional, Sequence, Type, Union

from ..client import connection, message
from ..client.login import Credentials, Responder
from ..client.secret import hide, hide_in
from ..wire.protocol import DEFAULT_BODY_MAX
from ..wire.spec import AMQP_0_9_1, Dialect
from .message import Message

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Connection"]


class Connection(connection.Connection):
    __doc__ = connection.Connection.__doc__

    message_class: ClassVar[Type[message.Message]] = Message
    _dialects: ClassVar[Sequence[Dialect]] = (AMQP_0_9_1,)
    _default_heartbeat: ClassVar[Optional[int]] = None

    def __init__(  # nosec B107
        self,
        host: str = "localhost",
        userid: str = "guest",
        password: str = "guest",
        login_method: Union[str, Sequence[str]] = "PLAIN",
        login_response: Union[bytes, str, Responder, None] = None,
        virtual_host: str = "/",
        locale: str = "en_US",
        client_properties: Optional[Dict[str, Any]] = None,
        ssl: Union[bool, Dict[str, Any], SSLContext, None] = False,
        insist: bool = False,
        connect_timeout: Optional[float] = 30,
        *,
        credentials: Optional[Credentials] = None,
        protocol: Optional[str] = None,
        heartbeat: Optional[int] = None,
        frame_max: Optional[int] = None,
        body_max: int = DEFAULT_BODY_MAX,
        channel_max: Optional[int] = None,
        reply_timeout: Optional[float] = 60,
        write_timeout: Optional[float] = 60,
        blocked_timeout: Optional[float] = 60,
        on_blocked: Optional[Callable[[str], Any]] = None,
        on_unblocked: Optional[Callable[[], Any]] = None,
    ) -> None:
        # before anything can go wrong: a traceback may show what stands here
        host, password, login_response, ssl = hide(host), hide(password), hide(login_response), hide_in(ssl)
        credentials = hide(credentials)
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
            credentials=credentials,
            protocol=protocol,
            heartbeat=heartbeat,
            frame_max=frame_max,
            body_max=body_max,
            channel_max=channel_max,
            reply_timeout=reply_timeout,
            write_timeout=write_timeout,
            blocked_timeout=blocked_timeout,
            on_blocked=on_blocked,
            on_unblocked=on_unblocked,
        )
