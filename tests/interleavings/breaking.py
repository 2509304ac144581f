"""Faults that are put into the library, to see that they are found."""

from __future__ import annotations

import inspect
import sys
import textwrap
from typing import Any, Callable, Dict, Tuple

import pytest

__all__ = ["break_function"]


def break_function(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], *changes: Tuple[str, str]) -> None:
    """Have a method of the driver's, or a function, say something else."""
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in changes:
        assert source.count(old) == 1, "%r is not there once" % old
        source = source.replace(old, new)
    module = sys.modules[function.__module__]
    names: Dict[str, Any] = {}
    exec("from __future__ import annotations\n" + source, module.__dict__, names)  # as if it stood there
    owner = getattr(module, function.__qualname__.split(".")[0]) if "." in function.__qualname__ else module
    monkeypatch.setattr(owner, function.__name__, names[function.__name__])
