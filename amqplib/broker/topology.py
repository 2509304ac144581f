"""The methods of a channel about exchanges, queues and bindings; one Python method for each, called by its name."""

from __future__ import annotations

from typing import Any, Dict, Optional

from .errors import ChannelRefusal
from .queue import Queue
from .replies import REPLY_TO
from .routing import Binding
from .vhost import VHost

__all__ = ["TopologyMethods"]


def _clean(name: str) -> str:
    """A name without line ends: RabbitMQ takes them out where names are declared, bound or deleted, not elsewhere."""
    return name.replace("\r", "").replace("\n", "") if "\r" in name or "\n" in name else name


class TopologyMethods:
    """A part of Channel."""

    vhost: VHost
    #: The connection, to which queues may be exclusive.
    owner: object
    #: What the empty queue name means: the queue declared last on this channel.
    latest_queue: Optional[str] = None

    def reply(self, name: str, *args: object) -> None:
        """Send a method."""
        raise NotImplementedError

    def queue_named(self, name: str) -> Queue:
        """The queue of that name, or declared last where it is empty (0-9-1, queue.bind and others)."""
        return self.vhost.queue(name or self.latest_name(), self.owner)

    def latest_name(self) -> str:
        """The queue declared last on this channel; 404 where there is none."""
        if self.latest_queue is None:
            raise ChannelRefusal(404, "no previously declared queue")
        return self.latest_queue

    def access_request(self, *args: object) -> None:
        """Every ticket is granted: RabbitMQ gave realms up."""
        self.reply("access.request_ok", 1)

    def exchange_declare(
        self,
        ticket: int,
        exchange: str,
        type: str,
        passive: bool,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        nowait: bool,
        arguments: Dict[str, Any],
    ) -> None:
        """exchange.declare"""
        exchange = _clean(exchange)
        if passive:
            self.vhost.existing_exchange(exchange)
        else:
            self.vhost.declare_exchange(exchange, type, durable, auto_delete, internal, arguments)
        if not nowait:
            self.reply("exchange.declare_ok")

    def exchange_delete(self, ticket: int, exchange: str, if_unused: bool, nowait: bool) -> None:
        """exchange.delete"""
        exchange = _clean(exchange)
        self.vhost.delete_exchange(exchange, if_unused)
        if not nowait:
            self.reply("exchange.delete_ok")

    def exchange_bind(
        self, ticket: int, destination: str, source: str, routing_key: str, nowait: bool, arguments: Dict[str, Any]
    ) -> None:
        """exchange.bind"""
        destination = _clean(destination)
        source = _clean(source)
        self.vhost.bind(source, Binding("exchange", destination, routing_key, arguments), self.owner)
        if not nowait:
            self.reply("exchange.bind_ok")

    def exchange_unbind(
        self, ticket: int, destination: str, source: str, routing_key: str, nowait: bool, arguments: Dict[str, Any]
    ) -> None:
        """exchange.unbind"""
        destination = _clean(destination)
        source = _clean(source)
        self.vhost.unbind(source, Binding("exchange", destination, routing_key, arguments), self.owner)
        if not nowait:
            self.reply("exchange.unbind_ok")

    def queue_declare(
        self,
        ticket: int,
        queue: str,
        passive: bool,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        nowait: bool,
        arguments: Dict[str, Any],
    ) -> None:
        """queue.declare"""
        queue = _clean(queue)
        if queue.startswith(REPLY_TO):
            self._declare_reply_to(queue, nowait)
            return
        if passive:
            found = self.vhost.queue(queue, self.owner)
            found.used()
        else:
            found = self.vhost.declare_queue(queue, durable, exclusive, auto_delete, arguments, self.owner)
        self.latest_queue = found.name
        if not nowait:
            self.reply("queue.declare_ok", found.name, found.message_count, len(found.consumers))

    def _declare_reply_to(self, name: str, nowait: bool) -> None:
        """A name for replies is there, or not: nobody can declare one."""
        if name not in self.vhost.replies:
            raise self.vhost.no_queue(name)
        self.latest_queue = name
        if not nowait:
            self.reply("queue.declare_ok", name, 0, 1)

    def queue_bind(
        self, ticket: int, queue: str, exchange: str, routing_key: str, nowait: bool, arguments: Dict[str, Any]
    ) -> None:
        """queue.bind"""
        exchange = _clean(exchange)
        self.vhost.bind(exchange, self._binding(queue, routing_key, arguments), self.owner)
        if not nowait:
            self.reply("queue.bind_ok")

    def queue_unbind(self, ticket: int, queue: str, exchange: str, routing_key: str, arguments: Dict[str, Any]) -> None:
        """queue.unbind"""
        exchange = _clean(exchange)
        self.vhost.unbind(exchange, self._binding(queue, routing_key, arguments), self.owner)
        self.reply("queue.unbind_ok")

    def _binding(self, queue: str, routing_key: str, arguments: Dict[str, Any]) -> Binding:
        name = _clean(queue or self.latest_name())
        # where neither queue nor key is named, the key is the queue's name too (0-9-1, queue.bind, "routing-key")
        return Binding("queue", name, routing_key if queue or routing_key else name, arguments)

    def queue_purge(self, ticket: int, queue: str, nowait: bool) -> None:
        """queue.purge"""
        count = self.queue_named(queue).purge()
        if not nowait:
            self.reply("queue.purge_ok", count)

    def queue_delete(self, ticket: int, queue: str, if_unused: bool, if_empty: bool, nowait: bool) -> None:
        """queue.delete. One that is not there is no error."""
        name = _clean(queue or self.latest_name())
        count = 0
        if name in self.vhost.queues:
            count = self.vhost.delete_queue(self.vhost.queue(name, self.owner), if_unused, if_empty)
        if not nowait:
            self.reply("queue.delete_ok", count)
