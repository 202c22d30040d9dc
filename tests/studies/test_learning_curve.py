"""Two stages: every arm takes as many steps on the same videos, and differences have intervals."""

import numpy as np
import pandas as pd
import pytest

from hmdb_lib import environment
from hmdb_lib.data.video import write_video
from hmdb_lib.errors import UserError
from hmdb_lib.plots import curves as plots
from hmdb_lib.results.metrics import predictions_table
from hmdb_lib.results.runs import Run, read_predictions
from hmdb_lib.studies import learning_curve as stages

SMALL = {"model.blocks": 1, "model.width": 0.25, "perceiver.latents": 8, "perceiver.width": 64}


def test_every_split_takes_as_many_steps_whatever_its_training_videos(tmp_path):
    for label in ("run", "walk"):
        (tmp_path / label).mkdir()
        for number in range(8):
            write_video(tmp_path / label / f"{number}.avi", np.full((2, 16, 16, 3), 9 * number, np.uint8), 30)
    sources = [("a", 1), ("b", 1), *[("c", 2)] * 3, *[("d", 2)] * 3]
    rows = [
        f"{label}/{number}.avi,{label},{source},{fold}"
        for label in ("run", "walk")
        for number, (source, fold) in enumerate(sources)
    ]
    (tmp_path / "index.csv").write_text("\n".join(["path,label,group,fold", *rows]))
    changes = {"data": "folder", "data.root": tmp_path, "train.batch_size": 2}
    place = environment.Place("local", tmp_path, tmp_path / "results")
    jobs = stages.plan({"scratch": ("baseline", {})}, [2], [1, 2], [0], 12, changes, place)["scratch", 2]
    assert [job.config.train.epochs for job in jobs] == [2, 6]  # 12 videos train in split 1, 4 in split 2


@pytest.mark.parametrize(("count", "epochs"), [(4, 6), (8, 3)])
def test_fewer_videos_are_seen_more_often_so_that_the_steps_are_as_many(tiny_config, tmp_path, count, epochs):
    config = tiny_config()
    changes = {"data": "folder", "data.root": config.data.root, "train.batch_size": 4}
    place = environment.Place("local", tmp_path, tmp_path / "results")
    (job,) = stages.plan({"scratch": ("baseline", {})}, [count], [1], [0], 6, changes, place)["scratch", count]
    assert job.config.train.epochs == epochs


@pytest.mark.slow
def test_a_learning_curve_has_a_line_for_each_arm_and_count(tiny_config, tiny_videos):
    tiny = tiny_config().flat()
    own = ("data.dataset", "data.root", "data.frames", "data.resize", "data.crop", "data.workers", "evaluate.clips")
    own += ("train.precision", "train.batch_size", "model.pretrained")
    changes = {"quick": True, "data.limit": None} | {key: tiny[key] for key in own}
    arms = {"scratch": ("cross1_self1", SMALL), "fast": ("cross1_self1", SMALL | {"train.lr": 0.01})}
    table = stages.learning_curve(arms, [4, 8], updates=2, changes=changes)
    file = environment.place().results / "learning_curves" / f"scratch+fast-{tiny_videos.name}-quick.csv"
    pd.testing.assert_frame_equal(pd.read_csv(file), table, check_dtype=False)
    assert list(zip(table.arm, table.sources, strict=True)) == [
        (arm, count) for count in (4, 8) for arm in ("scratch", "fast")
    ]
    assert (table.videos == 4).all()
    assert table.reference.fillna("").tolist() == ["", "scratch"] * 2
    compared = table[table.arm == "fast"]
    assert compared.p.notna().all()
    predictions = read_predictions(file.with_name(f"{file.stem}-predictions.csv.gz"))
    pd.testing.assert_frame_equal(stages.curve_table(table, predictions), table)
    assert len(plots.learning_curve(table).axes[0].containers) == 2


def planned(config, arms, counts=(4,), **changes):
    """The jobs of a learning curve on the videos of `config`, and the folder of their results."""
    place = environment.place()
    changes = {"data": "folder", "data.root": config.data.root, "train.batch_size": 4} | changes
    return stages.plan(arms, counts, [1], [0], 6, changes, place), place.results


def pretend(job, labels=("bright", "dark", "bright", "dark")):
    """Files of a finished run, without training."""
    run = Run.start(job.config, job.run.folder.parents[2])
    videos = pd.DataFrame({"path": list("abcd"), "group": list("abcd"), "label": labels})
    run.finish(predictions_table(videos, np.array([[0.9, 0.1]] * 4), ["bright", "dark"], range(4)), {"row": "baseline"})


def test_an_arm_may_be_called_by_a_number(tiny_config):
    arms = {"08": ("baseline", {})}
    jobs, results = planned(tiny_config(), arms)
    pretend(jobs["08", 4][0])
    assert stages._write(arms, jobs, results).runs.tolist() == [1]


SCRATCH = {"scratch": ("baseline", {})}


@pytest.mark.slow
def test_the_file_has_the_mean_over_classes_where_they_are_uneven(tiny_config):
    jobs, results = planned(tiny_config(), SCRATCH)
    pretend(jobs["scratch", 4][0], ["bright", "bright", "bright", "dark"])
    stages._write(SCRATCH, jobs, results)
    (file,) = (results / "learning_curves").glob("*.csv")
    assert pd.read_csv(file).mean_class_accuracy.tolist() == [0.5]


@pytest.mark.parametrize(("change", "kind"), [({"quick": True}, "-quick"), ({"model.frozen": "all"}, "-frozen")])
def test_a_curve_of_another_kind_of_runs_has_a_file_of_its_own(tiny_config, change, kind):
    config = tiny_config()
    jobs, results = planned(config, SCRATCH, **change)
    stages._write(SCRATCH, jobs, results)
    assert [file.name for file in (results / "learning_curves").iterdir()] == [f"scratch-{config.data.name}{kind}.csv"]


def test_every_seed_takes_as_many_steps_whatever_its_sources(tmp_path):
    rows = []
    for source, clips in (("a", 8), ("b", 2), ("c", 2)):
        for number in range(clips):
            label = ("run", "walk")[number % 2]
            (tmp_path / label).mkdir(exist_ok=True)
            write_video(tmp_path / label / f"{source}{number}.avi", np.zeros((2, 16, 16, 3), np.uint8), 30)
            rows.append(f"{label}/{source}{number}.avi,{label},{source},{'test' if source == 'c' else 'train'}")
    (tmp_path / "index.csv").write_text("\n".join(["path,label,group,split", *rows]))
    changes = {"data": "folder", "data.root": tmp_path, "train.batch_size": 2}
    place = environment.Place("local", tmp_path, tmp_path / "results")
    jobs = stages.plan(SCRATCH, [1], [1], range(6), 8, changes, place)["scratch", 1]
    assert {job.config.train.epochs for job in jobs} == {2, 8}, "8 videos of source a in batches of 2, or 2 of b"


def test_a_count_that_a_split_does_not_have_is_told_before_anything_trains(tiny_config):
    assert planned(tiny_config(), SCRATCH, counts=[12])
    with pytest.raises(UserError, match=r"^counts=100: split 1 has 12 training sources; leave it out$"):
        planned(tiny_config(), SCRATCH, counts=[4, 12, 100])


@pytest.mark.parametrize("key", ["name", "data.sources", "train.epochs"])
def test_what_a_curve_sets_itself_cannot_be_changed(tiny_config, key):
    with pytest.raises(UserError, match=f"{key} cannot be given"):
        planned(tiny_config(), SCRATCH, **{key: 3})


def test_each_run_of_a_curve_has_a_name_of_its_own(tiny_config):
    jobs, _ = planned(tiny_config(), SCRATCH | {"other": ("baseline", {})}, counts=(4, 8))
    assert len({str(job) for of_arm in jobs.values() for job in of_arm}) == 4


def test_the_mean_over_classes_stands_beside_the_accuracy_where_classes_are_uneven():
    asked = pd.DataFrame({"arm": ["scratch"], "sources": [4], "reference": [None]})
    predictions = pd.DataFrame({"video": list("abcd"), "group": list("abcd"), "label": list("xxxy"), "x": [0.9] * 4})
    predictions = predictions.assign(y=0.1, arm="scratch", sources=4, split=1, seed=0)
    assert stages.curve_table(asked, predictions).mean_class_accuracy.tolist() == [0.5]
    even = predictions[2:].reset_index(drop=True)
    assert "mean_class_accuracy" not in stages.curve_table(asked, even)
