"""Attributes that are computed, and give way to what a program sets under their name.

Subclasses of Connection and Channel have attributes of their own, and old ones cannot know which names have been taken
since. A plain property would make setting one an AttributeError. So nothing of ours may read these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["computed"]

if TYPE_CHECKING:
    from builtins import property as computed
else:

    class computed(property):
        """A property that an attribute of the instance hides."""

        def __set_name__(self, owner: Any, name: str) -> None:
            self._name = name

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is not None and self._name in instance.__dict__:
                return instance.__dict__[self._name]
            return super().__get__(instance, owner)

        def __set__(self, instance: Any, value: Any) -> None:
            instance.__dict__[self._name] = value
