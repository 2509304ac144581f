"""Functions: those of the program, refused where they are given if they cannot be called; and what ours are called."""

from __future__ import annotations

from types import FunctionType
from typing import Any, Generic, Optional, TypeVar, cast

__all__ = ["Callback", "NotCallable", "check_functions", "name_after"]

FunctionT = TypeVar("FunctionT")


class NotCallable(ValueError, TypeError):
    """A ValueError, as for other arguments that are of no use, and a TypeError, as a call of it would be."""


def check_functions(**functions: Any) -> None:
    """None, or what can be called."""
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise NotCallable("%s: %.100r cannot be called" % (name, function))


class Callback(Generic[FunctionT]):
    """An attribute that is None, or a function of the program."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any) -> Optional[FunctionT]:
        return cast("Optional[FunctionT]", self if instance is None else instance.__dict__[self._name])

    def __set__(self, instance: Any, function: Optional[FunctionT]) -> None:
        if getattr(instance, "_amqplib_refuses", True):
            check_functions(**{self._name: function})
        instance.__dict__[self._name] = function


def name_after(name: str, *classes: type) -> None:
    """Have Python's own errors name the class that programs know: "Channel.queue_declare() got an unexpected ..." """
    for cls in classes:
        for function in vars(cls).values():
            if isinstance(function, FunctionType):
                function.__qualname__ = "%s.%s" % (name, function.__name__)
