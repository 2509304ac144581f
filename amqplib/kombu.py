"""A transport for kombu, so that Celery runs on this library.

    Celery(broker='amqp://...', broker_transport='amqplib.kombu:Transport')
    kombu.Connection('amqp://...', transport='amqplib.kombu:Transport')

Nothing else of amqplib imports this module, and it needs kombu 5. Options are those of `transport_options` in kombu
(broker_transport_options in Celery): the keyword arguments of amqplib.client_0_9_1.Connection, and

    confirm_publish    True: publishing waits until the broker has confirmed the message

Those that kombu or Celery have for themselves, or for other transports, are passed over.

Heartbeats are sent by the client's own thread, so also while a task computes. A worker's event loop reads what has come
in portions, and asks before it sleeps for what other calls have read meanwhile: that does not make a socket readable.
"""

from __future__ import annotations

import inspect
import socket
import weakref
from collections import defaultdict
from typing import Any, DefaultDict, Dict, Optional, Set

import kombu.transport.base

from . import __version__
from . import client_0_9_1 as amqp
from .wire.spec import sig_of

__all__ = ["Channel", "Connection", "Message", "Transport"]

#: Without its types, of which there are more in each release.
base: Any = kombu.transport.base

_PROPERTIES = frozenset(name for name, _ in amqp.Message.PROPERTIES)

#: Keyword arguments of Connection that may stand among the options of a transport.
_OPTIONS = frozenset(inspect.signature(amqp.Connection.__init__).parameters) - {"self", "unknown"}

#: Methods that are handled before the event loop has its turn again.
_AT_A_TIME = 1000

#: RabbitMQ from here on takes a prefetch count without `global` to be each consumer's.
_OWN_READING_OF_QOS = (3, 3)


class Message(base.Message):  # type: ignore[misc]
    """A received message, as kombu has it."""

    def __init__(self, msg: Any, channel: Optional[Channel] = None, **options: Any) -> None:
        properties = msg.properties
        super().__init__(
            body=msg.body,
            channel=channel,
            delivery_tag=msg.delivery_tag,
            content_type=properties.get("content_type"),
            content_encoding=properties.get("content_encoding"),
            delivery_info=msg.delivery_info,
            properties=properties,
            headers=properties.get("application_headers") or {},
            **options,
        )


class Channel(amqp.Channel, base.StdChannel):  # type: ignore[misc]
    """A channel, with what kombu asks of one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: Tags of consumers whose messages need no acknowledgement, and must not be given one.
        self.no_ack_consumers: Set[str] = set()
        #: Event -> functions. "basic_return": called with exception, exchange, routing key and message.
        self.events: DefaultDict[str, Set[Any]] = defaultdict(set)
        super().__init__(*args, **kwargs)
        self.auto_decode = False  # kombu has decoders of its own

    def _returned(self, reply_code: int, reply_text: str, exchange: str, routing_key: str, msg: Any) -> None:
        exc = amqp.AMQPChannelException(reply_code, reply_text, sig_of("basic.return"))
        for function in list(self.events["basic_return"]):
            function(exc, exchange, routing_key, msg)

    # --- messages

    def prepare_message(
        self,
        body: Any,
        priority: Optional[int] = None,
        content_type: Optional[str] = None,
        content_encoding: Optional[str] = None,
        headers: Optional[Dict[str, Any]] = None,
        properties: Optional[Dict[str, Any]] = None,
    ) -> Any:
        """A message of a body that kombu has serialized."""
        known = {name: value for name, value in (properties or {}).items() if name in _PROPERTIES and value is not None}
        for name, value in (
            ("priority", priority),
            ("content_type", content_type),
            ("content_encoding", content_encoding),
            ("application_headers", headers),
        ):
            if value is not None:
                known[name] = value
        reply_to = known.get("reply_to")
        if reply_to is not None:
            known["reply_to"] = getattr(reply_to, "name", reply_to)  # kombu has queues for it
        return amqp.Message(body, **known)

    def prepare_queue_arguments(self, arguments: Any, **options: Any) -> Any:
        """Kombu's names of arguments, as RabbitMQ has them."""
        return base.to_rabbitmq_queue_arguments(arguments, **options)

    def message_to_python(self, raw_message: Any) -> Message:
        """A received message, as kombu has it."""
        return Message(raw_message, channel=self)

    def basic_publish(
        self,
        msg: Any,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        ticket: Optional[int] = None,
        timeout: Optional[float] = None,
        confirm_timeout: Optional[float] = None,
    ) -> Optional[int]:
        """Send a message; with the option confirm_publish until the broker has it, or for `confirm_timeout` seconds.

        timeout: for the same, where there is no confirm_timeout. Without confirms the connection's write_timeout is for
        what waits.
        """
        # without anybody to tell, what comes back is an error of wait_for_confirms()
        self.on_return = self._returned if self.events["basic_return"] else None
        connection = self.connection
        confirms = isinstance(connection, Connection) and connection.confirm_publish
        if confirms and self._amqplib.port.books is None:
            self.confirm_select()
        tag = super().basic_publish(msg, exchange, routing_key, mandatory, immediate, ticket)
        if confirms:
            self.wait_for_confirms(timeout if confirm_timeout is None else confirm_timeout)
        return tag

    # --- consumers

    def basic_consume(self, queue: str = "", *, no_ack: bool = False, **options: Any) -> str:  # type: ignore[override]
        """As Channel's; it remembers whose messages need no acknowledgement."""
        tag: str = super().basic_consume(queue, no_ack=no_ack, **options)
        if no_ack:
            self.no_ack_consumers.add(tag)
        return tag

    def basic_cancel(self, consumer_tag: str, nowait: bool = False) -> None:
        """As Channel's."""
        self.no_ack_consumers.discard(consumer_tag)
        super().basic_cancel(consumer_tag, nowait)


class Connection(amqp.Connection):
    """A connection, with what kombu asks of one."""

    channel_class = Channel

    #: The kombu.Connection that it belongs to.
    client: Any = None

    #: Is every publish to be confirmed?
    confirm_publish = False

    @property
    def connected(self) -> bool:
        """Is there a network connection?"""
        return self.is_open

    @property
    def sock(self) -> Any:
        """The socket, for event loops; None when closed."""
        return None if self.transport is None else self.transport.sock


class Transport(base.Transport):  # type: ignore[misc]
    """What kombu calls a transport: makes connections, and says what they can do."""

    driver_type = "amqp"
    driver_name = "amqplib"
    default_port, default_ssl_port = 5672, 5671

    implements = base.Transport.implements.extend(asynchronous=True, heartbeats=True)

    connection_errors = (amqp.AMQPConnectionException, OSError)
    channel_errors = (amqp.AMQPChannelException,)
    #: What may be over when it is tried again. A refused login, or a limit that is broken, is not.
    recoverable_connection_errors = (
        amqp.ConnectionForced,
        amqp.InternalError,
        amqp.ResourceError,
        amqp.ConnectionLostError,
        OSError,
    )
    recoverable_channel_errors = (amqp.ChannelClosedError, amqp.ResourceLocked, amqp.UnconfirmedChannelError)

    def __init__(self, client: Any, default_port: Optional[int] = None, **options: Any) -> None:
        super().__init__(client, **options)
        self.client = client
        self.default_port = default_port or type(self).default_port
        self._before_sleep: Dict[int, Any] = {}

    def driver_version(self) -> str:
        """Of amqplib."""
        return __version__

    @property
    def default_connection_params(self) -> Dict[str, Any]:
        """What holds where the program has not said."""
        port = self.default_ssl_port if self.client.ssl else self.default_port
        return {
            "userid": "guest",
            "password": "guest",  # nosec B105
            "hostname": "localhost",
            "port": port,
            "virtual_host": "/",
            "login_method": "PLAIN",
        }

    def establish_connection(self) -> Connection:
        """Connect, as the kombu.Connection says."""
        told = self.client
        for name, value in self.default_connection_params.items():
            if not getattr(told, name, None):
                setattr(told, name, value)
        options = {name: value for name, value in (told.transport_options or {}).items() if name in _OPTIONS}
        options.setdefault("heartbeat", int(told.heartbeat or 0))
        options.setdefault("connect_timeout", told.connect_timeout)
        conn = Connection(
            told.host,
            userid=told.userid,
            password=told.password,
            login_method=told.login_method,
            virtual_host=told.virtual_host,
            ssl=told.ssl or False,
            **options,
        )
        conn.client = told
        conn.confirm_publish = bool((told.transport_options or {}).get("confirm_publish"))
        return conn

    def create_channel(self, connection: Connection) -> Channel:
        """Open a channel."""
        channel = connection.channel()
        assert isinstance(channel, Channel)
        return channel

    def drain_events(self, connection: Connection, **options: Any) -> Any:
        """Handle one method that has come, or comes within `timeout`; socket.timeout when there is none."""
        return connection.drain_events(**options)

    def close_connection(self, connection: Connection) -> None:
        """Close it, in good order."""
        connection.client = None
        connection.close()

    def _collect(self, connection: Optional[Connection]) -> None:
        # called for what is lost, or belongs to a parent process: nobody may be waited for
        if connection is None:
            return
        connection.client = None
        try:
            connection.close(timeout=0)
        except (amqp.AMQPException, OSError):
            pass

    def verify_connection(self, connection: Connection) -> bool:
        """Is it still there?"""
        return connection.connected

    # --- heartbeats

    def get_heartbeat_interval(self, connection: Connection) -> int:
        """Seconds, as agreed with the broker."""
        return int(connection.heartbeat or 0)

    def heartbeat_check(self, connection: Connection, rate: int = 2) -> None:
        """Notice a peer that has gone silent. They are sent without being asked for."""
        try:
            connection.drain_events(timeout=0)
        except socket.timeout:
            pass

    def qos_semantics_matches_spec(self, connection: Connection) -> bool:
        """Is a prefetch count without `global` the channel's, as AMQP has it?"""
        properties = connection.server_properties
        if properties.get("product") != "RabbitMQ":
            return True
        version = str(properties.get("version", ""))
        return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OWN_READING_OF_QOS

    # --- event loops

    def register_with_event_loop(self, connection: Connection, loop: Any) -> None:
        """Have the loop read what comes, and look before it sleeps for what others have read."""
        ref = weakref.ref(connection)

        def before_sleep() -> None:
            conn = ref()
            if conn is None or conn.transport is None:
                loop.on_tick.discard(before_sleep)
            elif conn.pending() or conn.transport.encrypted:  # TLS may have read more than it has given
                _drain(conn)

        loop.add_reader(connection.sock, _drain, connection)
        loop.on_tick.add(before_sleep)

    def unregister_from_event_loop(self, connection: Connection, loop: Any) -> None:
        """Undo it."""
        if connection.sock is not None:
            loop.remove_reader(connection.sock)


def _drain(connection: Connection) -> None:
    """Handle what has come, and do not wait."""
    try:
        for _ in range(_AT_A_TIME):
            connection.drain_events(timeout=0)
    except socket.timeout:
        pass
