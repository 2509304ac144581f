"""Channel under its old path, beside names that programs imported from here."""

from ..client.abstract_channel import AbstractChannel
from ..client.channel import Channel
from .exceptions import AMQPChannelException, AMQPConnectionException, AMQPException

__all__ = ["AMQPChannelException", "AMQPConnectionException", "AMQPException", "AbstractChannel", "Channel"]
