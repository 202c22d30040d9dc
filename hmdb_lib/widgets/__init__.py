"""Views for notebooks in which something can be moved. A module is loaded when it is first used: two need torch."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hmdb_lib.widgets import explore, tryout, views

__all__ = ["explore", "tryout", "views"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"hmdb_lib.widgets.{name}")
    raise AttributeError(f"module 'hmdb_lib.widgets' has no attribute {name!r}")
