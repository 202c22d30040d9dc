"""Define the commands of a trained model: predict, look, export, push, pull. Needs no torch before they run."""
# ruff: noqa: PLC0415 - the modules that do the work are imported inside the functions for the same reason

import argparse
import json
from pathlib import Path

from data_prep.commands import whole_number

RUN = "a run's folder, best.ckpt or .safetensors"


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to a parser's sub-commands; the parsed arguments hold `run`, a function that takes them."""
    predict = subparsers.add_parser("predict", help="classify videos with a trained model, whole and over time")
    predict.add_argument("videos", nargs="+", metavar="FILE | FOLDER")
    predict.add_argument("--checkpoint", required=True, metavar="RUN", help=RUN)
    predict.add_argument("--top", type=whole_number, default=5, metavar="K", help="classes to name; default: 5")
    windows = "judge longer videos in windows; default: 10, with --to 2"
    predict.add_argument("--window", type=float, metavar="SECONDS", help=windows)
    predict.add_argument("--to", type=Path, metavar="FILE", help="write names and bars onto the video, a .mp4, say")
    predict.add_argument("--whole", action="store_true", help="one clip of all frames instead of many short ones")
    predict.add_argument("--device", default="auto", choices=["auto", "cuda", "mps", "cpu"])
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object: videos and skipped")
    form.add_argument("--csv", action="store_true", help="one row a video, or window of it, and class")
    predict.set_defaults(run=_predict)
    look = subparsers.add_parser("look", help="show where a trained model looks in a video, over its frames")
    look.add_argument("video", metavar="FILE")
    look.add_argument("--checkpoint", required=True, metavar="RUN", help=RUN)
    look.add_argument("--to", required=True, type=Path, metavar="FILE", help="a video (.mp4) or a figure (.png, .svg)")
    which = "the cross attention of these; default: rollout through all layers, Grad-CAM for a CNN"
    look.add_argument("--latents", nargs="+", type=int, default=[], metavar="N", help=which)
    look.add_argument("--device", default="auto", choices=["auto", "cuda", "mps", "cpu"])
    look.set_defaults(run=_look)
    export = subparsers.add_parser("export", help="write a trained model as one file to hand on")
    export.add_argument("checkpoint", metavar="RUN", help=RUN)
    endings = "ending in .safetensors, .onnx, .pt2 or .xml (OpenVINO)"
    export.add_argument("--to", required=True, type=Path, metavar="FILE", help=endings)
    export.set_defaults(run=_export)
    push = subparsers.add_parser("push", help="put a trained model and its card on the Hugging Face hub")
    push.add_argument("checkpoint", metavar="RUN", help=RUN)
    push.add_argument("--to", required=True, metavar="USER/NAME")
    push.add_argument("--public", action="store_true", help="for everyone to see; else for you alone")
    push.set_defaults(run=_push)
    pull = subparsers.add_parser("pull", help="fetch a trained model from the hub; prints the file that predict takes")
    pull.add_argument("repository", metavar="USER/NAME")
    pull.set_defaults(run=_pull)


def _predict(arguments: argparse.Namespace) -> None:
    from hmdb_lib.errors import UserError
    from hmdb_lib.inference import overlay
    from hmdb_lib.inference.classifier import Classifier, find_videos

    if arguments.to and len(find_videos(arguments.videos)) > 1:
        raise UserError(f"--to {arguments.to}: takes one video; give one")
    classifier = Classifier.load(arguments.checkpoint, arguments.device)
    if arguments.whole:
        predictions = classifier.whole_of_each(arguments.videos)
    else:
        window = (2 if arguments.to else 10) if arguments.window is None else arguments.window
        predictions = classifier.predict(arguments.videos, window=window)
    if arguments.json:
        print(json.dumps(predictions.tree(arguments.top), indent=2))
    elif arguments.csv:
        print(predictions.table(arguments.top).to_csv(index=False), end="")
    else:
        print(predictions.text(arguments.top))
    if arguments.to:
        overlay.write_labelled(classifier, predictions.videos[0], arguments.to)


def _look(arguments: argparse.Namespace) -> None:
    from hmdb_lib.inference import overlay
    from hmdb_lib.inference.classifier import Classifier

    classifier = Classifier.load(arguments.checkpoint, arguments.device)
    overlay.write(classifier, arguments.video, arguments.to, arguments.latents)
    print(f"written: {arguments.to}")


def _export(arguments: argparse.Namespace) -> None:
    from hmdb_lib.inference import export

    export.write(arguments.checkpoint, arguments.to)
    print(f"written: {arguments.to}")


def _push(arguments: argparse.Namespace) -> None:
    from hmdb_lib.inference import hub

    print(f"pushed: {hub.push(arguments.checkpoint, arguments.to, public=arguments.public)}")


def _pull(arguments: argparse.Namespace) -> None:
    from hmdb_lib.inference import hub

    print(hub.pull(arguments.repository))
