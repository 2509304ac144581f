"""Message under its old path."""

from ..client.message import Message

__all__ = ["Message"]
