"""AbstractChannel under its old path."""

from ..client.abstract_channel import AbstractChannel

__all__ = ["AbstractChannel"]
