"""Connection with today's defaults, and its Channel."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Dict,
    NoReturn,
    Optional,
    Sequence,
    Type,
    Union,
    cast,
)

from ..client import channel, connection, message
from ..client.connect.profile import Profile
from ..client.connect.secret import hide, hide_in
from ..client.recovery.policy import Recovery
from ..wire.protocol import DEFAULT_BODY_MAX, DEFAULT_HEADER_MAX
from ..wire.spec import AMQP_0_9_1
from .message import Message

if TYPE_CHECKING:
    from ssl import SSLContext

    from ..client.connect.login import Credentials, Responder
    from ..client.trace import Trace

__all__ = ["Channel", "Connection"]


if TYPE_CHECKING:

    class Channel(channel.Channel[Message]):
        """The same class, with this module's Message and Connection."""

        connection: Optional[Connection]

else:
    Channel = channel.Channel


class Connection(connection.Connection):
    __doc__ = connection.Connection.__doc__

    channel_class: ClassVar[Type[channel.Channel[Any]]] = Channel
    message_class: ClassVar[Type[message.BaseMessage]] = Message
    _amqplib_profile: ClassVar[Profile] = connection.profile((AMQP_0_9_1,), None)

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
        header_max: int = DEFAULT_HEADER_MAX,
        channel_max: Optional[int] = None,
        reply_timeout: Optional[float] = 60,
        write_timeout: Optional[float] = 60,
        blocked_timeout: Optional[float] = 60,
        close_timeout: Optional[float] = 5,
        on_blocked: Optional[Callable[[str], Any]] = None,
        on_unblocked: Optional[Callable[[], Any]] = None,
        recover: Union[bool, Recovery, None] = None,
        gather_acks: bool = False,
        trace: Union[bool, Trace, None] = None,
        **unknown: NoReturn,
    ) -> None:
        # before anything can go wrong: a traceback may show what stands here
        host, password, login_response, ssl = hide(host), hide(password), hide(login_response), hide_in(ssl)
        credentials = hide(credentials)
        names = sorted(unknown)
        unknown.clear()
        if names:
            self._amqplib_profile.unknown_arguments(names)
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
            header_max=header_max,
            channel_max=channel_max,
            reply_timeout=reply_timeout,
            write_timeout=write_timeout,
            blocked_timeout=blocked_timeout,
            close_timeout=close_timeout,
            on_blocked=on_blocked,
            on_unblocked=on_unblocked,
            recover=recover,
            gather_acks=gather_acks,
            trace=trace,
        )

    def channel(self, channel_id: Optional[int] = None) -> Channel:
        return cast(Channel, super().channel(channel_id))

    channel.__doc__ = connection.Connection.channel.__doc__
