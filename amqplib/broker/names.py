"""Names that the broker gives."""

from __future__ import annotations

import base64
import secrets

__all__ = ["unique_name"]


def unique_name(prefix: str) -> str:
    """A name that nobody has, and nobody guesses."""
    return prefix + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode("ascii").rstrip("=")
