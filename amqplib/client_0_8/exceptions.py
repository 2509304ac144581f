"""The exceptions under their old path."""

from ..client.exceptions import *  # noqa: F403
from ..client.exceptions import __all__ as __all__
