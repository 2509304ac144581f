"""Attributes that are computed, and give way to what a program sets under their name.

Subclasses of Connection and Channel have attributes of their own, and old ones cannot know which names have been taken
since. A property would make setting one an AttributeError. So nothing of ours may read these.
"""

from __future__ import annotations

from typing import Any, Callable, Generic, Optional, Type, TypeVar, Union, overload

__all__ = ["computed"]

T = TypeVar("T")


class computed(Generic[T]):
    """A property that an attribute of the instance hides."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: Type[Any]) -> computed[T]: ...

    @overload
    def __get__(self, instance: object, owner: Type[Any]) -> T: ...

    def __get__(self, instance: Optional[object], owner: Type[Any]) -> Union[computed[T], T]:
        return self if instance is None else self._compute(instance)
