"""Channel under its old path."""

from ..client.channel import Channel

__all__ = ["Channel"]
