"""Judge a trained run in other ways (vote, clips, crops), without training it again."""

from pathlib import Path

import pandas as pd

from hmdb_lib import config, environment
from hmdb_lib.errors import UserError
from hmdb_lib.inference import trained
from hmdb_lib.results.metrics import predictions_table
from hmdb_lib.results.runs import MACHINE_KEYS, OWN_WAY, Run, write_predictions, write_whole
from hmdb_lib.results.statistics import accuracy_interval, compare
from hmdb_lib.training import experiment as training

KEYS = ("evaluate.clips", "evaluate.crops", "evaluate.vote")


def rejudge(run: Run | Path | str, *ways: str) -> pd.DataFrame:
    """Judge the test videos of a finished run in other ways, and pair each with the run's own way, video by video.

    Returns one line a way: accuracy with its interval, difference to the run's own way with its interval, p. This table
    and all predictions are kept in the run's folder, as judged.csv and judged-predictions.csv.gz, beside earlier ways.

    Args:
        run: a run or its folder.
        ways: such as "evaluate.vote=majority"; several keys in one way with a space between. A key of the machine, such
            as "data.root=...", is not a way and holds for all.

    Raises UserError for a run without a checkpoint or without its videos, and for a key that training has settled.

    Example:
        >>> hl.rejudge(hl.find_run(), "evaluate.vote=majority", "evaluate.clips=1")

    """
    run = run if isinstance(run, Run) else Run(Path(run).expanduser())
    model = trained.read(run.folder).build()
    of_machine = [word for word in ways if _key(word) in MACHINE_KEYS]
    asked = {
        way: config.load(file=run.folder / "config.yaml", overrides=[*of_machine, *_checked(way)])
        for way in dict.fromkeys(("", *ways))
        if way not in of_machine
    }
    if len(asked) == 1:
        raise UserError(f"{run.folder}: no way to judge it was given; give one or more such as {KEYS[2]}=majority")
    own = asked[""]
    place = environment.place()
    data = training.read_data(own, place)
    run.keep_data(data.identity)
    listed, scores, found = data.listed("test"), {}, {}
    for way, judged_as in asked.items():
        evaluate = judged_as.evaluate
        cut = evaluate.clips, evaluate.crops
        if cut not in scores:
            scores[cut] = training.judge(training.Resolved(judged_as, place, run, own.train.epochs), model, data)
        scores[cut].majority = evaluate.vote == "majority"
        numbers, _, probabilities = scores[cut].videos()
        found[way or OWN_WAY] = predictions_table(listed, probabilities, data.classes, numbers)
    judged = run.judged | found
    lines = [
        {"way": way, "videos": len(of_way)}
        | accuracy_interval(of_way).columns("test_sources")
        | compare(of_way, judged[OWN_WAY]).columns()
        for way, of_way in judged.items()
    ]
    table = pd.DataFrame(lines)
    write_predictions(pd.concat(judged, names=["way"]).reset_index("way"), run.folder / "judged-predictions.csv.gz")
    write_whole(run.folder / "judged.csv", table.to_csv(index=False))
    return table


def _key(word: str) -> str:
    return word.partition("=")[0]


def _checked(way: str) -> list[str]:
    words = way.split()
    for word in words:
        if _key(word) not in KEYS:
            raise UserError(f"rejudge: {word}: training has settled this; give {', '.join(KEYS)}, or train another run")
    return words
