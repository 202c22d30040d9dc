"""A study runs what is missing, survives what goes wrong, and writes one table."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from hmdb_lib import cli, config, environment
from hmdb_lib.errors import UserError
from hmdb_lib.plots.curves import accuracy_against
from hmdb_lib.results import tables
from hmdb_lib.results.runs import Run
from hmdb_lib.studies import study
from hmdb_lib.training import experiment as training, launch

CLASSES = ["bright", "dark"]
MAJORITY = "evaluate.vote=majority"


def tiny(tiny_videos, **more):
    """What makes a run of seconds out of any row, as a study is told it."""
    keys = {
        **{"data": "folder", "data.root": tiny_videos, "data.frames": 8, "data.resize": "[66,88]", "data.crop": 64},
        **{"data.workers": 0, "model.pretrained": "none", "evaluate.clips": 2},
        **{"train.epochs": 1, "train.batch_size": 4, "train.warmup_epochs": 0, "train.precision": "fp32"},
    }
    return [f"{key}={value}" for key, value in (keys | more).items()]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path / "results"))
    return environment.place()


def pretend(job, right, seconds=60.0, validation=0.5, shortfall="", **more):
    """Files of a finished run, without training: 12 videos of 6 sources, the first `right` of them judged rightly."""
    run = Run.start(job.config, job.run.folder.parents[2])
    probability = np.where(np.arange(12) < right, 0.8, 0.2)
    predictions = pd.DataFrame(
        {
            "video": [f"v{n}" for n in range(12)],
            "group": [f"g{n // 2}" for n in range(12)],
            "label": "bright",
            "bright": probability,
            "dark": 1 - probability,
        }
    )
    summary = {
        **{"row": job.config.row, "split": job.config.data.split, "seed": job.config.seed, "flops": 81e9},
        "test": {"accuracy": right / 12},
        "shortfall": shortfall,
        "best_epoch": {"epoch": 0, "train_video_loss": 0.5, "val_video_loss": 1.0 + job.config.seed}
        | {"val_video_accuracy": validation},
        "parameters": {"cnn": 31_300_000, "total": 38_900_000},
        "seconds": {"training": seconds, "test": 0.0},
    }
    run.finish(predictions, summary | more)


@pytest.mark.slow
def test_finished_runs_are_skipped_and_their_table_is_written(place, tiny_videos, capsys, monkeypatch):
    monkeypatch.setattr(launch, "TRAIN", ["there is nothing to start"])
    changes = tiny(tiny_videos)
    for job in study.plan(["cross_and_self"], [1], [0, 1], changes, place):
        pretend(job, 6 + 3 * (job.config.row == "cross1") + job.config.seed)
    files = study.run_study("cross_and_self", seeds=[0, 1], changes=changes).files
    assert "6 runs, 6 of them finished" in capsys.readouterr().out
    name = tiny_videos.name
    assert [file.name for file in files] == [f"cross_and_self-{name}.{ending}" for ending in ("csv", "md", "tex")]
    table = pd.read_csv(files[0], index_col="row")
    assert [row for row in table.index if "averaged" not in row] == ["cross1_self1", "cross1", "self1"]
    row = table.loc["cross1"]
    assert (row.runs, row.videos, row.validation_loss) == (2, 12, 1.5)  # two seeds judge the same twelve
    assert (row.accuracy, row.difference) == (19 / 24, pytest.approx(6 / 24))
    assert row.difference_low <= row.difference <= row.difference_high
    averaged = table.loc["cross1 (2 runs averaged)"]
    assert averaged.dropna().index.tolist()[:3] == ["runs", "videos", "sources"]
    assert (averaged.reference, averaged.difference) == ("cross1_self1 (2 runs averaged)", pytest.approx(3 / 12))
    assert np.isnan(averaged.p), "the comparison that was planned is that of single runs"
    assert row.published_hmdb51_val_accuracy == 0.7047
    assert (row.cnn_parameters, row.attention_parameters) == (31_300_000, 7_600_000)


def test_a_table_for_people_has_an_interval_beside_every_difference_and_names_the_data(place, tiny_videos):
    changes = tiny(tiny_videos)
    jobs = study.plan(["cross1_self1", "self1"], [1], [0], changes, place)
    for job, right in zip(jobs, (6, 9), strict=True):
        pretend(job, right)
    _, markdown, latex = (file.read_text() for file in study.run_study("cross1_self1", "self1", changes=changes).files)
    line = next(line for line in markdown.splitlines() if line.startswith("| self1"))
    assert "| 75.0 [" in line
    assert "| +25.0 [" in line
    assert "published (HMDB51): accuracy, %" in markdown
    assert f"The data are {tiny_videos.name}, not HMDB51" in markdown
    assert r"cross1\_self1" in latex
    assert r"\multicolumn{5}{c}{published (HMDB51)}" in latex
    assert "6 sources, covers 0.97]" in line
    assert "one run each: the spread between runs is not in the intervals" in line


def test_what_is_set_off_is_the_row_that_validation_would_choose_not_the_best_on_the_test_part(place, tiny_videos):
    jobs = study.plan(["cross1_self1", "self1", "cross1"], [1], [0], tiny(tiny_videos), place)
    for job, right, validation in zip(jobs, (9, 12, 6), (0.8, 0.5, 0.6), strict=True):
        pretend(job, right, validation=validation)
    table = tables.study({job.config.row: [job.run] for job in jobs}, "cross1_self1")
    assert table.best_on_validation.to_dict() == {"cross1_self1": True, "self1": False, "cross1": False}
    rows = tables.study_text(table, "x").iloc[:, 0].tolist()
    assert rows == ["cross1_self1 (best on validation)", "self1", "cross1"]
    assert "font-weight: bold" in tables.study_styled(table, "x").to_html()
    assert [text.get_text() for text in accuracy_against(table).legends[0].get_texts()] == rows


def test_a_row_with_fewer_runs_is_not_set_off_because_its_validation_videos_may_be_easier(place, tiny_videos):
    jobs = study.plan(["cross1_self1", "self1"], [1, 2], [0], tiny(tiny_videos), place)[:3]
    for job, validation in zip(jobs, (0.6, 0.9, 0.5), strict=True):
        pretend(job, 6, validation=validation)
    runs = {row: [job.run for job in jobs if job.config.row == row] for row in ("cross1_self1", "self1")}
    table = tables.study(runs, "cross1_self1")
    assert table.best_on_validation.to_dict() == {"cross1_self1": True, "self1": False}


def test_a_row_is_set_off_though_the_reference_has_no_finished_run(place, tiny_videos):
    jobs = study.plan(["baseline", "bert", "gru"], [1], [0], tiny(tiny_videos), place)
    pretend(jobs[1], 6, validation=0.5)
    pretend(jobs[2], 6, validation=0.6)
    runs = {job.config.row: [job.run] if job.run.finished else [] for job in jobs}
    assert tables.study(runs, "baseline").best_on_validation.to_dict() == {
        "baseline": False,
        "bert": False,
        "gru": True,
    }


@pytest.fixture
def of_seeds(place, tiny_videos):
    """A function that gives the table of a row with some seeds on each of two splits, of the same twelve videos."""

    def table(*seeds):
        of_row = []
        for split, count in enumerate(seeds, 1):
            jobs = study.plan(["baseline"], [split], range(count), tiny(tiny_videos), place)
            for job in jobs:
                pretend(job, 9 if job.config.seed == 2 else 6)
            of_row += [job.run for job in jobs]
        return tables.study({"baseline": of_row}, "baseline")

    return table


def test_videos_of_averaged_runs_are_counted_once_whatever_the_splits_that_judge_them(of_seeds):
    assert of_seeds(2, 2).videos.tolist() == [12, 12]


def test_of_a_split_with_more_seeds_than_another_the_first_ones_are_averaged(of_seeds):
    table = of_seeds(3, 2)
    assert table.index.tolist() == ["baseline", "baseline (2 runs averaged)"]
    assert table.runs.tolist() == [5, 4]


def test_a_split_or_seed_that_is_named_twice_is_run_once(place, tiny_videos):
    assert len(study.plan(["baseline"], [1, 1], [0, 0], tiny(tiny_videos), place)) == 1


def test_a_row_whose_videos_are_cut_by_other_sources_is_not_set_off(place, tiny_videos):
    (plain,) = study.plan(["baseline"], [1], [0], tiny(tiny_videos), place)
    (leaking,) = study.plan(["self1"], [1], [0], [*tiny(tiny_videos), "data.group=(.*)"], place)
    pretend(plain, 6, validation=0.5)
    pretend(leaking, 9, validation=0.9)
    table = tables.study({"baseline": [plain.run], "self1": [leaking.run]}, "baseline")
    assert table.best_on_validation.to_dict() == {"baseline": True, "self1": False}


def test_what_was_missing_of_the_data_stays_in_the_caption(place, tiny_videos):
    (job,) = study.plan(["baseline"], [1], [0], tiny(tiny_videos), place)
    pretend(job, 6, shortfall="51 classes, 1,498 of 1,530 test videos: 32 missing")
    caption = study.run_study("baseline", changes=tiny(tiny_videos)).caption
    assert "Of the data: 51 classes, 1,498 of 1,530 test videos: 32 missing." in caption


def test_uneven_classes_have_their_mean_accuracy_in_the_table_and_the_commonest_class_beside_chance(place, tiny_videos):
    even, uneven = study.plan(["cross1_self1", "self1"], [1], [0], tiny(tiny_videos), place)
    pretend(even, 6, imbalance=2.0, commonest_class=0.5, classes=CLASSES)
    assert "mean over classes" not in study.run_study("cross1_self1", changes=tiny(tiny_videos)).files[1].read_text()
    pretend(uneven, 9, imbalance=3.0, commonest_class=0.7, classes=CLASSES)
    told = study.run_study("cross1_self1", "self1", changes=tiny(tiny_videos))
    assert told.frame.mean_class_accuracy.tolist() == [0.5, 0.75]
    shown = tables.study_text(told.frame, "x")
    assert shown["ours (x)", "mean over classes, %"].tolist() == ["50.0", "75.0"]
    assert "Chance 50.0 %, always saying the commonest class 60.0 %." in told.caption


def test_rows_without_a_test_video_in_common_have_no_difference(place, tiny_videos):
    one, other = study.plan(["cross1_self1", "self1"], [1], [0], tiny(tiny_videos), place)
    pretend(one, 6)
    pretend(other, 6)
    table = other.run.predictions
    other.run.finish(table.assign(video="other-" + table.video), other.run.summary)
    assert np.isnan(tables.study({"cross1_self1": [one.run], "self1": [other.run]}, "cross1_self1").difference["self1"])


def test_p_is_adjusted_for_all_comparisons_that_the_table_plans(place, tiny_videos):
    jobs = study.plan(["cross1_self1", "self1", "cross1"], [1], [0], tiny(tiny_videos), place)
    for job, right in zip(jobs[:2], (0, 12), strict=True):
        pretend(job, right)
    runs = {job.config.row: [job.run] if job.run.finished else [] for job in jobs}
    row = tables.study(runs, "cross1_self1").loc["self1"]
    assert (row.p, row.p_holm) == (pytest.approx(1 / 2**6), pytest.approx(2 / 2**6))


def test_rows_judged_on_other_videos_say_how_many_they_share(place, tiny_videos):
    jobs = study.plan(["cross1_self1", "self1"], [1, 2], [0], tiny(tiny_videos), place)
    for job in jobs[:3]:
        pretend(job, 6)
    runs = {row: [job.run for job in jobs[:3] if job.config.row == row] for row in ("cross1_self1", "self1")}
    text = tables.study_text(tables.study(runs, "cross1_self1"), "x")
    assert ", on 12 of 24 videos" in text["ours (x)", "difference, points"][1]


def test_a_row_judged_by_the_epoch_that_did_best_on_the_test_part_is_marked(place, tiny_videos):
    jobs = study.plan(["published_choice"], [1], [0], tiny(tiny_videos), place)
    pretend(jobs[0], 6)
    assert (
        tables.study_text(tables.study({"published_choice": [jobs[0].run]}, "baseline"), "x").iloc[0, 0].endswith("*")
    )


def test_averaged_runs_of_a_row_whose_epoch_was_chosen_on_the_test_part_are_marked_too(place, tiny_videos):
    jobs = study.plan(["published_choice"], [1], [0, 1], tiny(tiny_videos), place)
    for job in jobs:
        pretend(job, 6)
    table = tables.study({"published_choice": [job.run for job in jobs]}, "baseline")
    assert tables.marked(table) == ["published_choice*", "published_choice (2 runs averaged)*"]


def test_a_row_without_validation_says_that_its_last_epoch_was_taken(place, tiny_videos):
    (job,) = study.plan(["published_training_part"], [1], [0], tiny(tiny_videos), place)
    pretend(job, 6)
    table = tables.study({"published_training_part": [job.run]}, "baseline")
    assert table.chosen_on.tolist() == ["last epoch"]


def test_the_time_left_is_taken_from_finished_runs_of_the_row(place, tiny_videos):
    jobs = study.plan(["baseline"], [1], [0, 1, 2], tiny(tiny_videos, **{"train.epochs": 4}), place)
    pretend(jobs[0], 6, seconds=100.0)
    Run.start(jobs[1].config, place.results).write_epoch({"epoch": 0})
    assert study.expect(jobs, jobs[1:], place) == [75.0, 100.0]


@pytest.mark.parametrize(
    ("names", "changes", "told"),
    [
        (["attention_dept"], [], "neither a table nor a row"),
        (["baseline"], ["seed=3"], "hmdb study takes seed from --seeds"),
        (["baseline"], ["train.epoch=3"], "the nearest is train.epochs"),
        (["baseline", "masked_hybrid"], [], "masked_hybrid: learns without labels"),
    ],
)
def test_a_wrong_name_or_key_is_told_before_anything_starts(place, names, changes, told):
    with pytest.raises(UserError, match=told):
        study.run_study(*names, changes=changes)


def test_a_caption_is_text_in_latex_whatever_signs_it_has(place, tiny_videos, tmp_path):
    (job,) = study.plan(["baseline"], [1], [0], tiny(tiny_videos), place)
    pretend(job, 6)
    frame = tables.study({"baseline": [job.run]}, "baseline")
    files = tables.write_study(frame, "mine", r"data.group=(.+)_\d{2} ~ ^", tmp_path / "table")
    caption = next(line for line in files[2].read_text().splitlines() if "caption" in line)
    assert r"(.+)\_\textbackslash{}d\{2\} \textasciitilde{} \textasciicircum{}" in caption


def test_the_settings_of_a_file_lie_under_what_a_row_says(place, tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text("data:\n  frames: 8\ntrain:\n  accumulate: 3\n  lr: 0.5\n")
    (job,) = study.plan(["published_optimiser"], [1], [0], [], place, file)
    assert (job.config.data.frames, job.config.train.accumulate, job.config.train.lr) == (8, 3, 1e-3)
    assert job.arguments[-2:] == ["--config", str(file)]


@pytest.mark.parametrize(
    ("names", "frozen"),
    [(["attention_depth"], {True}), (["cnn_depth"], {False}), (["backbones"], {True, False})],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_on_the_sample_all_rows_of_a_table_train_their_backbone_or_none_does(place, names, frozen):
    """But for those that say themselves whether theirs is frozen."""
    jobs = study.plan(names, [1], [0], ["data=sample"], place)
    assert {job.config.frozen for job in jobs} == frozen
    assert all(job.config.frozen for job in jobs if "efficientnet" in job.config.row)


def test_another_experiment_is_not_mixed_into_a_table(place, tiny_videos):
    pretend(study.plan(["baseline"], [1], [0], tiny(tiny_videos), place)[0], 6)
    with pytest.raises(UserError, match=r"holds another experiment: train\.lr"):
        study.run_study("baseline", changes=tiny(tiny_videos, **{"train.lr": 0.5}))
    named = study.plan(["baseline"], [1], [0], tiny(tiny_videos, **{"train.lr": 0.5, "name": "fast"}), place)[0]
    assert named.run.folder.parent.name == "baseline-fast"


@pytest.mark.slow
def test_a_row_that_fails_is_listed_at_the_end_and_does_not_stop_the_rest(place, tiny_videos, capfd, monkeypatch):
    monkeypatch.setattr(study, "expect", lambda jobs, missing, place, tell: [1.0] * len(missing))
    # A crop of 72 pixels cannot be cut into VideoMAE's patches of 16.
    changes = tiny(tiny_videos, **{"data.resize": "[72,96]", "data.crop": 72})
    with pytest.raises(UserError, match=r"1 of 2 runs failed.*\n  videomae_small split 1 seed 0: exit code 2"):
        study.run_study("videomae_small", "baseline", changes=changes)
    assert "[2/2] baseline split 1 seed 0; about 0:00:01 left" in capfd.readouterr().out
    table = pd.read_csv(next(place.results.glob("tables/*.csv")), index_col="row")
    assert table.runs.to_dict() == {"videomae_small": 0, "baseline": 1}


@pytest.mark.slow
def test_quick_runs_train_in_this_process_each_told_in_its_log(place, tiny_videos, capsys, monkeypatch):
    monkeypatch.setattr(launch, "_started", None)  # starts a process
    changes = tiny(tiny_videos, quick="true", **{"data.resize": "[72,96]", "data.crop": 72})
    with pytest.raises(
        UserError, match=r"1 of 2 runs failed.*\n  videomae_small split 1 seed 0: exit code 2; see .*log"
    ):
        study.run_study("videomae_small", "baseline", changes=changes)
    refused, trained = (
        (place.results / f"runs/{row}/{tiny_videos.name}-split1-seed0-quick/log.txt").read_text()
        for row in ("videomae_small", "baseline")
    )
    assert "\nerror: " in refused
    assert "test accuracy" in trained
    printed = capsys.readouterr().out
    assert "[2/2] baseline split 1 seed 0\n" in printed
    assert "test accuracy" not in printed


def start(results, changes):
    command = [sys.executable, "-m", "hmdb_lib", "study", "baseline", "--seeds", "0", "1", *changes]
    # One thread, as Ray gives a run of one core.
    given = os.environ | {"HMDB_RESULTS": str(results), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=given, start_new_session=True)


def table_in(results):
    return next((results / "tables").glob("*.csv")).read_text()


@pytest.fixture(scope="module")
def changes(tiny_videos):
    return tiny(tiny_videos, **{"train.epochs": 3, "model.width": 0.25})


@pytest.fixture(scope="module")
def whole(changes, tmp_path_factory):
    """The table of a study of two runs that nothing disturbs, trained in this process, which spares two starts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMDB_RESULTS", str(tmp_path_factory.mktemp("whole")))
        place = environment.place()
        jobs = study.plan(["baseline"], [1], [0, 1], changes, place)
        for job in jobs:
            training.train(job.config)
        study.write(["baseline"], jobs, changes, place.results)
    torch.set_num_threads(threads)
    return table_in(place.results)


@pytest.mark.slow
def test_a_study_killed_in_its_second_run_and_started_again_gives_the_same_table(changes, whole, tiny_videos, tmp_path):
    cut = tmp_path / "cut"
    second = cut / "runs" / "baseline" / f"{tiny_videos.name}-split1-seed1"
    child = start(cut, changes)
    while not (second / "metrics.csv").exists():
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(2)
    assert not (second / "summary.json").exists(), "the run went on without its study"
    assert start(cut, changes).wait() == 0
    assert table_in(cut) == whole


@pytest.mark.slow
def test_a_study_on_ray_gives_the_same_table_though_a_run_is_killed(changes, whole, place, tiny_videos, monkeypatch):
    monkeypatch.setattr(study, "expect", lambda jobs, missing, place, tell: [1.0] * len(missing))
    victim = place.results / "runs" / "baseline" / f"{tiny_videos.name}-split1-seed1"
    killer = threading.Thread(target=kill_when_it_has_an_epoch, args=(victim,))
    killer.start()
    study.run_study("baseline", seeds=[0, 1], changes=changes, on="ray")
    killer.join()
    assert "resuming after epoch" in (victim / "log.txt").read_text()
    assert table_in(place.results) == whole


@pytest.mark.slow
def test_two_runs_at_once_in_processes_of_their_own_give_the_same_table(changes, whole, place, monkeypatch):
    monkeypatch.setattr(study, "expect", lambda jobs, missing, place, tell: [1.0] * len(missing))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    study.run_study("baseline", seeds=[0, 1], changes=changes, at_once=2)
    assert table_in(place.results) == whole


def kill_when_it_has_an_epoch(folder):
    """SIGKILL for the process of the run in `folder`."""
    while not (folder / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.02)
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "seed=1" in words and any(word.endswith("train.py") for word in words):
            process.kill()


@pytest.mark.parametrize("how", [["--config", "{file}"], ["--config={file}"]])
def test_a_configuration_file_may_be_joined_to_its_option(tmp_path, monkeypatch, how):
    seen = {}
    monkeypatch.setattr(
        study, "run_study", lambda *names, file, changes, **more: seen.update(file=file, changes=changes)
    )
    file = tmp_path / "own.yaml"
    assert cli.main(["study", "baseline", *[word.format(file=file) for word in how], "train.lr=0.1"]) == 0
    assert seen == {"file": file, "changes": ["train.lr=0.1"]}


def captions(name, place, changes):
    jobs = study.plan([name], [1], [0], changes, place)
    return study.write([name], jobs, changes, place.results).caption


def test_a_caption_names_what_its_rows_vary_and_besides_and_against_what(place, tiny_videos):
    caption = captions("compared", place, tiny(tiny_videos))
    assert (
        "Rows of compared differ in model.backbone, model.head, pool.dropout, data.frames; VideoMAE as its" in caption
    )
    assert "Difference: to baseline, of bert_32frames to baseline_32frames on the same videos" in caption
    assert "All clips span 2 seconds: rows of equal frames show as many a second." in captions("denser", place, [])


def test_a_caption_says_how_low_label_smoothing_lets_the_training_loss_fall(place, tiny_videos):
    told = "Training loss: plain, not smoothed; label smoothing 0.1 holds it above about 0.10, the published had none."
    assert told in captions("latents", place, tiny(tiny_videos))
    assert "holds it" not in captions("latents", place, tiny(tiny_videos, **{"train.label_smoothing": 0}))


@pytest.mark.slow
def test_a_row_of_longer_clips_is_compared_with_the_baseline_of_as_long_ones(place, tiny_videos):
    jobs = study.plan(["longer"], [1], [0], tiny(tiny_videos), place)
    for job in jobs:
        pretend(job, 9 if job.config.row == "baseline_4seconds" else 6)
    frame = study.write(["longer"], jobs, [], place.results).frame
    assert frame.reference.dropna().to_dict() == {
        **dict.fromkeys(["cross1_self1", "baseline_4seconds", "baseline_8seconds", "bert"], "baseline"),
        **dict.fromkeys(["cross1_self1_4seconds", "bert_4seconds"], "baseline_4seconds"),
        **dict.fromkeys(["cross1_self1_8seconds", "bert_8seconds"], "baseline_8seconds"),
    }
    assert frame.difference["bert_4seconds"] == -0.25


@pytest.fixture
def own_table(place, tiny_videos, tmp_path):
    """What a study writes of a table that stands in one's own file."""
    file = tmp_path / "own.yaml"
    file.write_text(
        "tables: {own: {rows: [baseline, bert, gru], varies: [model.head], note: Mine., against: {bert: [gru]}, "
        f"judged: {{gru: [{MAJORITY}]}}}}}}\n"
    )
    jobs = study.plan(["own"], [1], [0], tiny(tiny_videos), place, file)
    for job in jobs:
        pretend(job, 6)
    return study.run_study("own", changes=tiny(tiny_videos), file=file)


def test_rows_of_a_table_of_ones_own_are_compared_with_the_row_that_it_names(own_table):
    assert own_table.frame.reference.dropna().to_dict() == {"bert": "baseline", "gru": "bert"}


def test_a_table_of_ones_own_says_in_what_its_rows_differ(own_table):
    assert "Rows of own differ in model.head. Mine." in own_table.caption


def test_a_table_of_ones_own_judges_its_rows_in_the_ways_that_it_names(own_table):
    assert "for the 3 comparisons" in own_table.caption


def test_what_is_missing_is_printed_as_commands_that_name_exactly_those_runs(place, tiny_videos, capsys):
    changes = [*tiny(tiny_videos), "name=mine"]
    jobs = study.plan(["baseline", "bert"], [1, 2], [0], changes, place)
    pretend(jobs[0], 6)
    assert cli.main(["study", "baseline", "bert", "--splits", "1", "2", "--missing", *changes]) == 0
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [of[:2] for of in commands] == [["hmdb", "train"]] * 3
    told = [config.load(row, words) for _, _, row, *words in commands]
    assert told == [job.config for job in jobs[1:]]
