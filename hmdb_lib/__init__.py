"""Run believable video-classification experiments on HMDB51: `import hmdb_lib as hl`, then a dozen verbs.

Each name is loaded when it is first used, so that the import itself needs the standard library alone.

Example:
    >>> import hmdb_lib as hl
    >>> config = hl.load_config("cross1_self1", quick=True)
    >>> run = hl.train(config, live=True)
    >>> hl.load_model(run.folder).predict("video.mp4").table()

"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hmdb_lib import plots, widgets
    from hmdb_lib.config import load_config
    from hmdb_lib.errors import UserError
    from hmdb_lib.inference.classifier import load_model
    from hmdb_lib.notebook import set_up
    from hmdb_lib.results.runs import list_runs, results_table
    from hmdb_lib.results.tables import published
    from hmdb_lib.studies.study import cost_table, run_study
    from hmdb_lib.training.experiment import build_model, load_data, resolve, train

_HOMES = {
    "UserError": "errors",
    "build_model": "training.experiment",
    "cost_table": "studies.study",
    "list_runs": "results.runs",
    "load_config": "config",
    "load_data": "training.experiment",
    "load_model": "inference.classifier",
    "published": "results.tables",
    "resolve": "training.experiment",
    "results_table": "results.runs",
    "run_study": "studies.study",
    "set_up": "notebook",
    "train": "training.experiment",
}
_ROOMS = {"plots": ("curves", "classes", "clips"), "widgets": ("views", "tryout")}

__all__ = [
    "UserError",
    "build_model",
    "cost_table",
    "list_runs",
    "load_config",
    "load_data",
    "load_model",
    "plots",
    "published",
    "resolve",
    "results_table",
    "run_study",
    "set_up",
    "train",
    "widgets",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"hmdb_lib.{_HOMES[name]}"), name)
    if name in _ROOMS:
        for part in _ROOMS[name]:
            importlib.import_module(f"hmdb_lib.{name}.{part}")
        return importlib.import_module(f"hmdb_lib.{name}")
    raise AttributeError(f"module 'hmdb_lib' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
