"""Define the commands `hmdb study`, `tune`, `audit`, `cost`, `figures`, `report` and `results`. Needs no torch before they run."""
# ruff: noqa: PLC0415 - the modules that do the work are imported inside the functions for the same reason

import argparse
from pathlib import Path

import hmdb_lib as hl
from data_prep.commands import add_config, whole_number
from hmdb_lib.training.commands import GOES_ON


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to a parser's sub-commands; the parsed arguments hold `run`, a function that takes them."""
    study = subparsers.add_parser(
        "study",
        help="run what is missing of a table, then write it",
        description="Run what is missing of tables and rows, then write one table into <results>/tables.",
        usage="hmdb study table | row ... [--splits 1 2 3] [--seeds 0 1 2] [--quick] [--frozen] [--config FILE]\n"
        "                  [--hours 3] [--forecast | --missing] [--at-once 2] [--on ray] [--address A] [--gpus G] [key=value ...]",
    )
    study.add_argument("names", nargs="+", metavar="table | row", help="of experiments.yaml")
    study.add_argument("--splits", nargs="+", type=int, default=[1], help="splits or folds; default: 1")
    study.add_argument("--seeds", nargs="+", type=int, default=[0], help="default: 0")
    study.add_argument("--quick", action="store_true", help="few small clips, two epochs: does everything run?")
    study.add_argument("--frozen", action="store_true", help="train every head on the same stored tokens")
    add_config(study)
    study.add_argument("--hours", type=float, help="stop at an epoch's end before the time is up")
    only_told = study.add_mutually_exclusive_group()
    only_told.add_argument(
        "--forecast", action="store_true", help="print what it costs here and what it can show, run nothing"
    )
    only_told.add_argument("--missing", action="store_true", help="print what is not finished here, as commands")
    study.add_argument("--at-once", type=whole_number, default=1, metavar="N", help="runs at once, each on its own GPU")
    study.add_argument("--on", choices=["here", "ray"], default="here", help="ray: many runs at once, on many machines")
    study.add_argument("--address", help="of a Ray cluster, such as auto; default: Ray on this machine")
    study.add_argument(
        "--gpus", type=float, help="GPUs that a run on Ray takes, 0.5 too; default: 1 where there is one"
    )
    study.set_defaults(run=_study, stopped=GOES_ON)
    tune = subparsers.add_parser(
        "tune",
        help="search settings of rows on the validation part",
        description="Search the settings of tables and rows on the validation part alone, with Optuna: as many trials for "
        "each row. What is searched: `search` in experiments.yaml. The best becomes the row <row>_tuned.",
        usage="hmdb tune table | row ... [--trials 20] [--hours 2] [--splits 1 2 3] [--quick] [--frozen]\n"
        "                 [--rates] [--config FILE] [key=value ...]",
    )
    tune.add_argument("names", nargs="+", metavar="table | row", help="of experiments.yaml")
    tune.add_argument("--trials", type=whole_number, default=20, help="of each row and split; default: 20")
    tune.add_argument("--hours", type=float, help="begin nothing that would end later")
    tune.add_argument("--splits", nargs="+", type=int, default=[1], help="tuned each for itself; default: 1")
    tune.add_argument("--quick", action="store_true", help="few small clips, two epochs: does everything run?")
    tune.add_argument("--frozen", action="store_true", help="train every head on the same stored tokens")
    tune.add_argument("--rates", action="store_true", help="range test of the learning rate instead, a hundred steps")
    add_config(tune)
    tune.set_defaults(run=_tune, stopped="stopped; the same command goes on after the last trial that ended")
    again = subparsers.add_parser(
        "rejudge",
        help="judge a trained run in other ways",
        description="Judge the test videos of a finished run by each key=value, and by all together, without training.",
        usage="hmdb rejudge RUN [evaluate.vote=majority] [evaluate.clips=N] [evaluate.crops=3] [data.root=FOLDER]",
    )
    again.add_argument("folder", metavar="RUN", help="a run's folder")
    again.set_defaults(run=_rejudge, keyed=True)
    audit = subparsers.add_parser(
        "audit",
        help="list near-duplicates between training, validation and test",
        usage="hmdb audit [row] [key=value ...] [--above 0.95] [--config FILE]",
    )
    audit.add_argument("--above", type=float, default=0.95, help="correlation of thumbnails; default: 0.95")
    add_config(audit, row=True)
    audit.set_defaults(run=_audit)
    cost = subparsers.add_parser("cost", help="parameters, FLOPs and tokens of rows, beside the published numbers")
    cost.add_argument("rows", nargs="*", help="rows of experiments.yaml; none: all")
    cost.add_argument("--json", action="store_true", help="one object, row -> numbers")
    cost.add_argument("--measure", action="store_true", help="seconds and peak memory too, one clip at a time")
    cost.set_defaults(run=_cost)
    figures = subparsers.add_parser("figures", help="draw every table of the results folder into its figures/")
    figures.add_argument("--to", type=Path, metavar="FOLDER", help="another folder for the pictures")
    figures.set_defaults(run=_figures)
    report = subparsers.add_parser("report", help="write one HTML file of a table or a run, to hand in or to print")
    report.add_argument("name", metavar="TABLE | RUN", help="of results/tables, or <row>/<run> of results/runs")
    report.add_argument("--to", type=Path, metavar="FILE", help="default: results/reports/<name>.html")
    report.set_defaults(run=lambda asked: print(hl.write_report(asked.name, asked.to)))
    results = subparsers.add_parser("results", help="check that runs and tables add up, or merge results folders")
    of_results = results.add_subparsers(required=True, metavar="check | merge")
    check = of_results.add_parser("check", help="compute every number again from the predictions beside it")
    check.add_argument("folder", nargs="?", type=Path, help="a results folder; default: this machine's")
    check.set_defaults(run=lambda asked: hl.check_results(asked.folder))
    merge = of_results.add_parser("merge", help="copy the finished runs of other folders or zip files into one")
    merge.add_argument("sources", nargs="+", type=Path, metavar="FOLDER | ZIP")
    merge.add_argument("--to", type=Path, metavar="FOLDER", help="a results folder; default: this machine's")
    merge.set_defaults(run=lambda asked: hl.merge_results(*asked.sources, results=asked.to))


def _changes(asked: argparse.Namespace) -> list[str]:
    return [*asked.changes, *["quick=true"] * asked.quick, *["model.frozen=all"] * asked.frozen]


def _tune(asked: argparse.Namespace) -> None:
    from hmdb_lib import config
    from hmdb_lib.studies.rates import rate_range
    from hmdb_lib.studies.tune import tune

    if asked.rates:
        for row in config.list_rows(*asked.names, file=asked.config):
            rate_range(config.load(row, [f"data.split={asked.splits[0]}", *_changes(asked)], asked.config))
        return
    how = {"splits": asked.splits, "trials": asked.trials, "hours": asked.hours}
    print(tune(*asked.names, **how, changes=_changes(asked), file=asked.config).to_string())


def _study(asked: argparse.Namespace) -> None:
    from hmdb_lib import environment
    from hmdb_lib.studies import study

    what, place = {"splits": asked.splits, "seeds": asked.seeds, "changes": _changes(asked)}, environment.place()
    if asked.forecast or asked.missing:
        jobs = study.plan(asked.names, **what, place=place, file=asked.config)
        if asked.missing:
            print(*study.missing_commands(jobs), sep="\n")
        else:
            study.forecast(jobs, place, asked.hours, asked.at_once)
        return
    where = {"on": asked.on, "address": asked.address, "gpus": asked.gpus, "at_once": asked.at_once}
    study.run_study(*asked.names, **what, file=asked.config, hours=asked.hours, to_log=False, **where)


def _rejudge(asked: argparse.Namespace) -> None:
    from hmdb_lib.studies.rejudge import rejudge

    ways = [word for word in asked.changes if word.startswith("evaluate.")]
    alone = len(ways) < 2 or len({way.partition("=")[0] for way in ways}) < len(ways)
    print(rejudge(asked.folder, *asked.changes, *([] if alone else [" ".join(ways)])).to_string(index=False))


def _audit(asked: argparse.Namespace) -> None:
    from hmdb_lib import config
    from hmdb_lib.studies.audit import audit

    audit(config.load(asked.row, asked.changes, asked.config), asked.above)


def _cost(asked: argparse.Namespace) -> None:
    from hmdb_lib.results import tables
    from hmdb_lib.studies.study import cost_table

    table = cost_table(*asked.rows, measure=asked.measure)
    print(table.to_json(orient="index", indent=2) if asked.json else tables.cost_text(table))


def _figures(asked: argparse.Namespace) -> None:
    from hmdb_lib import environment
    from hmdb_lib.plots import figures

    print(*figures.draw(environment.place().results, asked.to), sep="\n")
