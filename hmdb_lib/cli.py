"""What the shell can ask for: the arguments of `python train.py` and `python -m hmdb_lib`, and how errors are told."""

import argparse
import functools
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from data_prep.commands import add_commands
from hmdb_lib import config, environment
from hmdb_lib.errors import UserError

GOES_ON = "stopped; the same command goes on from the last finished epoch"


def entry() -> int:
    """Run the console script `hmdb`; returns the exit code."""
    return main(sys.argv[1:])


def train(argv: Sequence[str]) -> int:
    """`python train.py [row] [key=value ...] [--config FILE]`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        usage="python train.py [row] [key=value ...] [--config FILE]",
        description="Train, evaluate and record one experiment.",
        epilog=_rows_and_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "changes", nargs="*", metavar="row | key=value", help="a row of experiments.yaml, then single keys"
    )
    _add_config(parser)
    parser.add_argument("--end-with-stdin", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args(argv)
    if arguments.end_with_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    return guarded(lambda: _train(arguments.changes, arguments.config), GOES_ON)


def main(argv: Sequence[str]) -> int:
    """Run `hmdb <command> ...`, which `python -m hmdb_lib` is too; returns the exit code."""
    if argv[:1] == ["train"]:
        return train(argv[1:])
    parser = argparse.ArgumentParser(prog="hmdb", description="Video-classification experiments on HMDB51.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("train", help="train, evaluate and record one experiment")
    add_commands(commands)
    cost = commands.add_parser("cost", help="parameters, FLOPs and tokens of rows, beside the published numbers")
    cost.add_argument("rows", nargs="*", help="rows of experiments.yaml; none: all")
    cost.add_argument("--json", action="store_true", help="one object, row -> numbers")
    cost.add_argument("--measure", action="store_true", help="seconds and peak memory too, one clip at a time")
    study = commands.add_parser(
        "study",
        help="run what is missing of a table, then write it",
        description="Run what is missing of tables and rows, then write one table into <results>/tables.",
        usage="hmdb study table | row ... [--splits 1 2 3] [--seeds 0 1 2] [--quick] [--config FILE]\n"
        "                  [--on ray] [--address A] [--gpus G] [key=value ...]",
    )
    study.add_argument("names", nargs="+", metavar="table | row", help="of experiments.yaml")
    study.add_argument("--splits", nargs="+", type=int, default=[1], help="splits or folds; default: 1")
    study.add_argument("--seeds", nargs="+", type=int, default=[0], help="default: 0")
    study.add_argument("--quick", action="store_true", help="few small clips, two epochs: does everything run?")
    _add_config(study)
    study.add_argument("--on", choices=["here", "ray"], default="here", help="ray: many runs at once, on many machines")
    study.add_argument("--address", help="of a Ray cluster, such as auto; default: Ray on this machine")
    study.add_argument(
        "--gpus", type=float, help="GPUs that a run on Ray takes, 0.5 too; default: 1 where there is one"
    )
    predict = commands.add_parser("predict", help="what a trained model says of videos, whole and along their time")
    predict.add_argument("videos", nargs="+", metavar="FILE | FOLDER")
    predict.add_argument("--checkpoint", required=True, metavar="RUN", help="a run's folder, best.ckpt or .safetensors")
    predict.add_argument("--top", type=int, default=5, metavar="K", help="classes to name; default: 5")
    predict.add_argument("--window", type=float, default=10, metavar="SECONDS", help="judge longer videos in windows")
    predict.add_argument("--whole", action="store_true", help="one clip of all frames instead of many short ones")
    predict.add_argument("--device", default="auto", choices=["auto", "cuda", "mps", "cpu"])
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object: videos and skipped")
    form.add_argument("--csv", action="store_true", help="one row a video, or window of it, and class")
    look = commands.add_parser("look", help="where a trained model looked in a video, over its frames")
    look.add_argument("video", metavar="FILE")
    look.add_argument("--checkpoint", required=True, metavar="RUN", help="a run's folder, best.ckpt or .safetensors")
    look.add_argument("--to", required=True, type=Path, metavar="FILE", help="a video (.mp4) or a figure (.png, .svg)")
    look.add_argument(
        "--latents",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="the cross attention of these; default: rollout through all layers, Grad-CAM for a CNN",
    )
    look.add_argument("--device", default="auto", choices=["auto", "cuda", "mps", "cpu"])
    export = commands.add_parser("export", help="a trained model as one file to hand on")
    export.add_argument("checkpoint", metavar="RUN", help="a run's folder, best.ckpt or .safetensors")
    export.add_argument(
        "--to", required=True, type=Path, metavar="FILE", help="ending in .safetensors, .onnx, .pt2 or .xml (OpenVINO)"
    )
    push = commands.add_parser("push", help="a trained model and its card to the Hugging Face hub")
    push.add_argument("checkpoint", metavar="RUN", help="a run's folder, best.ckpt or .safetensors")
    push.add_argument("--to", required=True, metavar="USER/NAME")
    push.add_argument("--public", action="store_true", help="for everyone to see; else for you alone")
    pull = commands.add_parser("pull", help="a trained model from the hub; prints the file that predict takes")
    pull.add_argument("repository", metavar="USER/NAME")
    commands.add_parser("doctor", help="versions, device, folders and free disk, for a bug report")
    # A key=value may stand anywhere, behind --seeds 0 1 2 too, which would take it for a seed.
    changes = [word for word in argv if "=" in word and word[0] != "-"] if argv[:1] == ["study"] else []
    arguments = parser.parse_args([word for word in argv if word not in changes])
    if arguments.command == "study":
        changes += ["quick=true"] if arguments.quick else []
        return guarded(lambda: _study(arguments, changes), GOES_ON)
    if arguments.command == "predict":
        return guarded(lambda: _predict(arguments))
    if arguments.command == "look":
        return guarded(lambda: _look(arguments))
    if arguments.command == "export":
        return guarded(lambda: _export(arguments.checkpoint, arguments.to))
    if arguments.command == "push":
        return guarded(lambda: _push(arguments.checkpoint, arguments.to, arguments.public))
    if "run" in arguments:
        code = 0

        def run() -> None:
            nonlocal code
            code = arguments.run(arguments) or 0

        return guarded(run) or code
    if arguments.command == "doctor":
        return guarded(_doctor)
    if arguments.command == "pull":
        return guarded(lambda: _pull(arguments.repository))
    return guarded(lambda: _cost(arguments.rows, arguments.json, arguments.measure))


def _add_config(parser: argparse.ArgumentParser) -> None:
    told = "another config.yaml, a part of one, or a run's own"
    parser.add_argument("--config", type=Path, default=config.CONFIG, metavar="FILE", help=told)


def guarded(work: Callable[[], object], stopped: str = "stopped") -> int:
    """Do the work; print what a user can mend in one line on stderr. The exit code: 0, 2 for that, 130 for Ctrl-C.

    `stopped` is printed after Ctrl-C.
    """
    try:
        work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    return 0


def _train(changes: Sequence[str], file: Path) -> None:
    row, overrides = (changes[0], changes[1:]) if changes and "=" not in changes[0] else (None, changes)
    # A wrong key must not wait for torch to load.
    config.load(row, overrides, file)
    from hmdb_lib.training import experiment as training  # noqa: PLC0415

    training.train(config.load(row, overrides, file))


def _study(asked: argparse.Namespace, changes: Sequence[str]) -> None:
    from hmdb_lib.studies import study  # noqa: PLC0415 - the help must not wait for torch to load

    study.run(
        asked.names,
        asked.splits,
        asked.seeds,
        changes,
        file=asked.config,
        on=asked.on,
        address=asked.address,
        gpus=asked.gpus,
    )


def _predict(arguments: argparse.Namespace) -> None:
    from hmdb_lib.inference.classifier import Classifier  # noqa: PLC0415 - the help must not wait for torch to load

    classifier = Classifier.load(arguments.checkpoint, arguments.device)
    if arguments.whole:
        predictions = classifier.whole_of_each(arguments.videos)
    else:
        predictions = classifier.predict(arguments.videos, window=arguments.window)
    if arguments.json:
        print(json.dumps(predictions.tree(arguments.top), indent=2))
    elif arguments.csv:
        print(predictions.table(arguments.top).to_csv(index=False), end="")
    else:
        print(predictions.text(arguments.top))


def _look(arguments: argparse.Namespace) -> None:
    from hmdb_lib.inference import overlay  # noqa: PLC0415 - the help must not wait for torch to load
    from hmdb_lib.inference.classifier import Classifier  # noqa: PLC0415

    classifier = Classifier.load(arguments.checkpoint, arguments.device)
    overlay.write(classifier, arguments.video, arguments.to, arguments.latents)
    print(f"written: {arguments.to}")


def _export(checkpoint: str, file: Path) -> None:
    from hmdb_lib.inference import export  # noqa: PLC0415 - the help must not wait for torch to load

    export.write(checkpoint, file)
    print(f"written: {file}")


def _push(checkpoint: str, repository: str, public: bool) -> None:
    from hmdb_lib.inference import hub  # noqa: PLC0415 - the help must not wait for torch to load

    print(f"pushed: {hub.push(checkpoint, repository, public=public)}")


def _pull(repository: str) -> None:
    from hmdb_lib.inference import hub  # noqa: PLC0415 - the help must not wait for torch to load

    print(hub.pull(repository))


def _doctor() -> None:
    from hmdb_lib.device import choose_device  # noqa: PLC0415 - the help must not wait for torch to load

    place = environment.place()
    print(f"python {platform.python_version()} on {platform.platform()}, {environment.cores()} cores")
    for name in ("hmdb-lib", "torch", "torchvision", "lightning", "transformers", "av", "numpy", "pandas"):
        print(name, importlib.metadata.version(name))
    print(f"device: {choose_device().reason}\nplace: {place.name}")
    for what, folder in (("data", place.data), ("results", place.results)):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        writable = "" if os.access(there, os.W_OK) else ", not writable"
        print(f"{what}: {folder}, {shutil.disk_usage(there).free / 1e9:.0f} GB free{writable}")


def _end_with_stdin() -> None:
    """A study that is killed leaves no run behind: the pipe to the run's standard input closes, and the run ends."""
    os.read(sys.stdin.fileno(), 1)  # no Python lock is held meanwhile, which forked readers of videos would inherit
    os._exit(1)


def _cost(rows: Sequence[str], as_json: bool, measure: bool) -> None:
    chosen = {row: config.load(row, ["data.dataset=hmdb51"]) for row in rows or config.rows()}
    from hmdb_lib import models  # noqa: PLC0415 - a wrong row must not wait for torch to load
    from hmdb_lib.models import cost  # noqa: PLC0415 - a wrong row must not wait for torch to load
    from hmdb_lib.results import tables  # noqa: PLC0415 - a wrong row must not wait for torch to load

    builds = {}
    for row, experiment in chosen.items():
        arguments = experiment.architecture()
        builds[row] = (arguments.pop("name"), arguments, experiment.data.frames, experiment.data.crop)
    table = cost.table(builds, models.build)
    if measure:
        measured = {
            row: cost.measure(functools.partial(models.build, name, 51, **arguments), frames, size)
            for row, (name, arguments, frames, size) in tqdm(builds.items(), "measuring", unit="row")
        }
        table = table.join(pd.DataFrame.from_dict(measured, orient="index"))
    print(table.to_json(orient="index", indent=2) if as_json else tables.cost_text(table))


def _rows_and_keys() -> str:
    width = max(map(len, config.rows()))
    rows = [
        textwrap.fill(row["question"], 120, initial_indent=f"  {name:{width}}  ", subsequent_indent=" " * (width + 4))
        for name, row in config.rows().items()
    ]
    return (
        "rows (experiments.yaml):\n"
        + "\n".join(rows)
        + "\n\nkeys (config.yaml):\n"
        + config.CONFIG.read_text(encoding="utf-8")
    )
