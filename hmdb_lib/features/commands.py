"""Define the commands `hmdb features` and `hmdb probe`. Needs no torch before they run."""
# ruff: noqa: PLC0415 - the modules that do the work are imported inside the functions for the same reason

import argparse

from data_prep.commands import add_config
from hmdb_lib import config


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to a parser's sub-commands; the parsed arguments hold `run`, a function that takes them."""
    features = subparsers.add_parser(
        "features",
        help="compute the tokens of a frozen backbone, before training asks for them",
        usage="hmdb features [row] [key=value ...] [--config FILE]",
    )
    features.set_defaults(run=_features, stopped="stopped; the same command goes on, finished shards are kept")
    probe = subparsers.add_parser(
        "probe",
        help="fit logistic regression and nearest neighbours on a frozen backbone's averaged tokens",
        usage="hmdb probe [row] [key=value ...] [--protocol mteb] [--config FILE]",
    )
    probe.add_argument(
        "--protocol", choices=["mteb"], help="mteb: as the public board judges: 8 videos of a class, ten draws"
    )
    probe.set_defaults(run=_probe)
    for parser in (features, probe):
        add_config(parser, row=True)


def _features(asked: argparse.Namespace) -> None:
    experiment = config.load(asked.row, ["model.frozen=all", *asked.changes], asked.config)
    from hmdb_lib import environment
    from hmdb_lib.features.load import FeatureData
    from hmdb_lib.features.probe import prepare

    data, _, tokens = prepare(experiment, environment.place())
    FeatureData(data, experiment, tokens)
    files = list(tokens.store.folder.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    print(f"features: {tokens.store.folder}, {len(files)} files, {size / 1e9:.3g} GB")
    for path, reason in tokens.unreadable.items():
        print(f"left out, cannot be read: {path}: {reason}")


def _probe(asked: argparse.Namespace) -> None:
    experiment = config.load(asked.row, ["model.frozen=all", "data.features=pooled", *asked.changes], asked.config)
    from hmdb_lib.features import probe
    from hmdb_lib.results.metrics import mean_beside
    from hmdb_lib.results.statistics import videos_text

    if not asked.protocol:
        for name, found in probe.probe(experiment).iterrows():
            line = {str(key): value for key, value in found.items()}
            chosen = ", ".join(f"{key}={line[key]:g}" for key in ("C", "k") if line[key] > 0)
            beside = mean_beside({"imbalance": line.get("imbalance", 1), "test": line})
            interval = f"[{line['accuracy_low']:.3f}, {line['accuracy_high']:.3f}]{beside}"
            print(f"{name}: test accuracy {line['accuracy']:.3f} {interval} on {videos_text(line)}, {chosen}")
        return
    accuracies = probe.probe_as_board(experiment)
    mean = accuracies.mean()
    print(f"8 videos of a class: accuracy {mean:.3f}, standard deviation {accuracies.std(ddof=1):.3f} over ten draws")
    data = experiment.data
    print("the public board, HMDB51 split 1" + ("" if data.name == "hmdb51" and data.split == 1 else " (other data):"))
    print(probe.board(mean).to_string(index=False))
