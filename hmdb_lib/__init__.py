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
    from data_prep.drawn.pairs import make_pairs
    from data_prep.drawn.sample import make_sample
    from data_prep.extract import extract_frames
    from data_prep.hmdb51.download import get_hmdb51
    from data_prep.hmdb51.verify import Whole, find_problems
    from hmdb_lib import plots, widgets
    from hmdb_lib.config import list_rows, load_config
    from hmdb_lib.doctor import examine
    from hmdb_lib.environment import place
    from hmdb_lib.errors import UserError
    from hmdb_lib.features.probe import probe
    from hmdb_lib.inference.classifier import load_model
    from hmdb_lib.notebook import set_up
    from hmdb_lib.results.check import check_results, merge_results
    from hmdb_lib.results.runs import list_runs, overfitting_table, results_table
    from hmdb_lib.results.tables import published, read_table
    from hmdb_lib.studies.audit import audit
    from hmdb_lib.studies.clip_length import judge_lengths
    from hmdb_lib.studies.first_hour import first_hour
    from hmdb_lib.studies.learning_curve import learning_curve
    from hmdb_lib.studies.rejudge import rejudge
    from hmdb_lib.studies.report import write_report
    from hmdb_lib.studies.study import cost_table, run_study
    from hmdb_lib.studies.tune import tune
    from hmdb_lib.training.experiment import build_model, find_run, load_data, resolve, train

_HOMES = {
    "UserError": "hmdb_lib.errors",
    "Whole": "data_prep.hmdb51.verify",
    "audit": "hmdb_lib.studies.audit",
    "build_model": "hmdb_lib.training.experiment",
    "check_results": "hmdb_lib.results.check",
    "cost_table": "hmdb_lib.studies.study",
    "examine": "hmdb_lib.doctor",
    "extract_frames": "data_prep.extract",
    "find_problems": "data_prep.hmdb51.verify",
    "find_run": "hmdb_lib.training.experiment",
    "get_hmdb51": "data_prep.hmdb51.download",
    "judge_lengths": "hmdb_lib.studies.clip_length",
    "first_hour": "hmdb_lib.studies.first_hour",
    "learning_curve": "hmdb_lib.studies.learning_curve",
    "list_rows": "hmdb_lib.config",
    "list_runs": "hmdb_lib.results.runs",
    "load_config": "hmdb_lib.config",
    "load_data": "hmdb_lib.training.experiment",
    "load_model": "hmdb_lib.inference.classifier",
    "make_pairs": "data_prep.drawn.pairs",
    "make_sample": "data_prep.drawn.sample",
    "merge_results": "hmdb_lib.results.check",
    "overfitting_table": "hmdb_lib.results.runs",
    "place": "hmdb_lib.environment",
    "probe": "hmdb_lib.features.probe",
    "published": "hmdb_lib.results.tables",
    "read_table": "hmdb_lib.results.tables",
    "rejudge": "hmdb_lib.studies.rejudge",
    "resolve": "hmdb_lib.training.experiment",
    "results_table": "hmdb_lib.results.runs",
    "run_study": "hmdb_lib.studies.study",
    "set_up": "hmdb_lib.notebook",
    "train": "hmdb_lib.training.experiment",
    "write_report": "hmdb_lib.studies.report",
    "tune": "hmdb_lib.studies.tune",
}

__all__ = [
    "UserError",
    "Whole",
    "audit",
    "build_model",
    "check_results",
    "cost_table",
    "examine",
    "extract_frames",
    "find_problems",
    "find_run",
    "first_hour",
    "get_hmdb51",
    "judge_lengths",
    "learning_curve",
    "list_rows",
    "list_runs",
    "load_config",
    "load_data",
    "load_model",
    "make_pairs",
    "make_sample",
    "merge_results",
    "overfitting_table",
    "place",
    "plots",
    "probe",
    "published",
    "read_table",
    "rejudge",
    "resolve",
    "results_table",
    "run_study",
    "set_up",
    "train",
    "tune",
    "widgets",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in ("plots", "widgets"):
        return importlib.import_module(f"hmdb_lib.{name}")
    raise AttributeError(f"module 'hmdb_lib' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
