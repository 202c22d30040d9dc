"""Run believable video-classification experiments on HMDB51: `import hmdb_lib as hl`, then a dozen verbs.

Each name is loaded when it is first used, so that the import itself needs the standard library alone.

Example:
    >>> import hmdb_lib as hl
    >>> config = hl.load_config("cross1_self1", quick=True)
    >>> run = hl.train(config, live=True)
    >>> hl.load_model(run).predict("video.mp4").table()

"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_prep.drawn.pairs import make_pairs as make_pairs
    from data_prep.drawn.sample import make_sample as make_sample
    from data_prep.extract import extract_frames as extract_frames
    from data_prep.hmdb51.download import get_hmdb51 as get_hmdb51
    from data_prep.hmdb51.verify import Whole as Whole, find_problems as find_problems
    from data_prep.pack import pack as pack, unpack as unpack
    from hmdb_lib import plots as plots, widgets as widgets
    from hmdb_lib.config import list_rows as list_rows, load_config as load_config
    from hmdb_lib.doctor import examine as examine
    from hmdb_lib.environment import place as place
    from hmdb_lib.errors import UserError as UserError
    from hmdb_lib.features.probe import probe as probe
    from hmdb_lib.inference.classifier import load_model as load_model
    from hmdb_lib.notebook import set_up as set_up
    from hmdb_lib.results.check import check_results as check_results, merge_results as merge_results
    from hmdb_lib.results.runs import (
        list_runs as list_runs,
        overfitting_table as overfitting_table,
        results_table as results_table,
    )
    from hmdb_lib.results.tables import published as published, read_table as read_table
    from hmdb_lib.studies.audit import audit as audit
    from hmdb_lib.studies.clip_length import judge_lengths as judge_lengths
    from hmdb_lib.studies.first_hour import first_hour as first_hour
    from hmdb_lib.studies.learning_curve import learning_curve as learning_curve
    from hmdb_lib.studies.rejudge import rejudge as rejudge
    from hmdb_lib.studies.report import write_report as write_report
    from hmdb_lib.studies.study import cost_table as cost_table, run_study as run_study
    from hmdb_lib.studies.tune import tune as tune
    from hmdb_lib.training.experiment import (
        build_model as build_model,
        find_run as find_run,
        load_data as load_data,
        resolve as resolve,
        train as train,
    )

_NAMES = {
    "data_prep.drawn.pairs": "make_pairs",
    "data_prep.drawn.sample": "make_sample",
    "data_prep.extract": "extract_frames",
    "data_prep.hmdb51.download": "get_hmdb51",
    "data_prep.hmdb51.verify": "Whole find_problems",
    "data_prep.pack": "pack unpack",
    "hmdb_lib.config": "list_rows load_config",
    "hmdb_lib.doctor": "examine",
    "hmdb_lib.environment": "place",
    "hmdb_lib.errors": "UserError",
    "hmdb_lib.features.probe": "probe",
    "hmdb_lib.inference.classifier": "load_model",
    "hmdb_lib.notebook": "set_up",
    "hmdb_lib.results.check": "check_results merge_results",
    "hmdb_lib.results.runs": "list_runs overfitting_table results_table",
    "hmdb_lib.results.tables": "published read_table",
    "hmdb_lib.studies.audit": "audit",
    "hmdb_lib.studies.clip_length": "judge_lengths",
    "hmdb_lib.studies.first_hour": "first_hour",
    "hmdb_lib.studies.learning_curve": "learning_curve",
    "hmdb_lib.studies.rejudge": "rejudge",
    "hmdb_lib.studies.report": "write_report",
    "hmdb_lib.studies.study": "cost_table run_study",
    "hmdb_lib.studies.tune": "tune",
    "hmdb_lib.training.experiment": "build_model find_run load_data resolve train",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
_ROOMS = ("plots", "widgets")
__all__ = sorted([*_HOMES, *_ROOMS])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"hmdb_lib.{name}")
    raise AttributeError(f"module 'hmdb_lib' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
