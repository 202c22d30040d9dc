"""Define the data commands: download, verify, extract, pack, unpack, sample, pairs.

Only the standard library is imported before a command runs, so that help needs neither pandas nor PyAV nor torch.
"""
# ruff: noqa: PLC0415 - for the same reason the modules that do the work are imported inside the functions

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import hmdb_lib as hl
from hmdb_lib.environment import shipped
from hmdb_lib.errors import UserError
from hmdb_lib.files import report_refusals


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the data commands to a parser's sub-commands.

    The parsed arguments hold `run`: a function that takes them and returns an exit code or None.
    """

    def command(name: str, purpose: str, run: Callable[[argparse.Namespace], object]) -> argparse.ArgumentParser:
        parser = subparsers.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        parser.set_defaults(run=run)
        return parser

    parser = command(
        "download",
        "download HMDB51, unpack it and check that it is complete",
        lambda a: hl.get_hmdb51(a.root, a.archive, workers=a.workers),
    )
    parser.add_argument("root", type=Path, help="folder for videos/, splits/ and manifest.csv")
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="FILE",
        help="your own hmdb51_org.rar (test_train_splits.rar beside it), or a zip",
    )
    _add_workers(parser, "processes that unpack")

    parser = command("verify", "check that HMDB51 is complete and write its manifest", _verify)
    parser.add_argument("root", type=Path, help="folder with videos/ and splits/")
    parser.add_argument("--deep", action="store_true", help="decode every frame too")
    _add_workers(parser, "threads that read", "a few more than cores")

    parser = command("extract", "decode every video once into a frame store, which training reads fast", _extract)
    parser.add_argument("root", type=Path, help="folder with videos/<class>/, or with class folders of videos")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--size", type=int, nargs=2, default=(128, 171), metavar=("H", "W"), help="pixels (default: 128 171)"
    )
    size.add_argument(
        "--short-side", type=whole_number, metavar="PIXELS", help="shorter side; keeps each video's shape"
    )
    parser.add_argument(
        "--no-antialias", action="store_true", help="resize as published, for data.antialias=false (not for a side)"
    )
    parser.add_argument(
        "--quality", type=int, default=90, metavar="Q", help="JPEG quality, 1 to 100 (default: %(default)s)"
    )
    parser.add_argument(
        "--raw", action="store_true", help="store uncompressed pixels: fast, and seven to nine times the size"
    )
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="frame store (default: <root>/frames-<H>x<W>)")
    _add_workers(parser, "processes that decode")
    parser.add_argument(
        "--shards", type=whole_number, default=0, metavar="N", help="write N tar files instead of one file per video"
    )
    parser.add_argument(
        "--part", type=_part, default=(1, 1), metavar="K/N", help="extract the K-th of N parts, for N machines"
    )

    parser = command(
        "pack", "pack prepared data into few large files, for another session", lambda a: hl.pack(a.folder, a.to)
    )
    parser.add_argument("folder", nargs="?", type=Path, help="default: this machine's data folder")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="default: hmdb_packed beside the results, on Drive")

    parser = command("unpack", "bring packed data back to the local disk", lambda a: hl.unpack(a.source, a.to))
    parser.add_argument("source", nargs="?", type=Path, help="default: where pack writes, or a Kaggle input")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="default: this machine's data folder")

    parser = command(
        "sample", "draw the sample data set", lambda a: hl.make_sample(a.root, a.seed, a.clips, workers=a.workers)
    )
    parser.add_argument("root", type=Path, help="folder to make, with videos/, splits/ and manifest.csv")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other videos (default: %(default)s)")
    parser.add_argument(
        "--clips", type=int, default=128, metavar="N", help="videos per class, at least 8 (default: %(default)s)"
    )
    _add_workers(parser, "processes that draw")

    parser = command(
        "pairs",
        "draw videos of two figures, to learn from before the real videos",
        lambda a: hl.make_pairs(a.root, a.seed, a.clips, a.classes, a.workers),
    )
    parser.add_argument("root", type=Path, help="folder to make; train with data=folder data.root=<it>")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other videos (default: %(default)s)")
    parser.add_argument(
        "--clips", type=int, default=12, metavar="N", help="videos per class, at least 7 (default: %(default)s)"
    )
    parser.add_argument(
        "--classes", type=whole_number, default=36, metavar="N", help="number of classes (default: all %(default)s)"
    )
    _add_workers(parser, "processes that draw")


def add_config(parser: argparse.ArgumentParser, *, row: bool = False) -> None:
    """Add `--config FILE`, and before it a row where there is one; the command takes key=value (see `cli.main`)."""
    parser.set_defaults(keyed=True)
    if row:
        parser.add_argument("row", nargs="?", help="a row of experiments.yaml")
    told = "another config.yaml, a part of one, or a run's own"
    parser.add_argument("--config", type=Path, default=shipped("config.yaml"), metavar="FILE", help=told)


def _add_workers(parser: argparse.ArgumentParser, what: str, default: str = "one per core") -> None:
    parser.add_argument("--workers", type=whole_number, metavar="N", help=f"{what} (default: {default})")


def run(arguments: argparse.Namespace) -> int:
    """Run a parsed command; return its exit code.

    0; 2 for what a user can mend, which is told in one line on stderr; 130 after Ctrl-C; 141 where the program that
    reads the output has ended, as `head` does.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    try:
        with report_refusals():
            code = arguments.run(arguments)
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return 141
    except KeyboardInterrupt:
        print(vars(arguments).get("stopped", "stopped"), file=sys.stderr)
        return 130


def _verify(arguments: argparse.Namespace) -> int:
    from data_prep.hmdb51.verify import verify

    return 2 if verify(arguments.root, arguments.deep, workers=arguments.workers) else 0


def _extract(arguments: argparse.Namespace) -> None:
    from data_prep.extract import Setting, extract
    from hmdb_lib.data.video import Size

    if arguments.short_side and arguments.no_antialias:
        raise UserError("--no-antialias goes with --size, not with --short-side")
    height, width = arguments.size
    size = arguments.short_side or Size(height, width, not arguments.no_antialias)
    setting = Setting(size, None if arguments.raw else arguments.quality)
    extract(arguments.root, setting, arguments.to, arguments.workers, arguments.shards, arguments.part)


def whole_number(text: str) -> int:
    """Parse an argument that is a whole number from 1 on."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _part(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N with K from 1 to N, such as 1/4")
    return int(number), int(count)
