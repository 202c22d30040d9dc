"""`hmdb results check` finds what does not add up; `merge` takes what does, and keeps two machines' runs apart."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from hmdb_lib import cli
from hmdb_lib.data.hmdb51 import OFFICIAL_TEST, read_split
from hmdb_lib.results.check import check_results, check_run, check_table, merge_results
from hmdb_lib.results.runs import Run

ROWS = ("baseline", "head_gated")
TABLE = "baseline+head_gated-ut_interaction"


@pytest.fixture
def results(tmp_path):
    """Two rows' runs on UT-Interaction, two folds each, and their table, as an earlier release had them."""
    return Path(shutil.copytree(Path(__file__).parent / "ut_interaction", tmp_path / "results"))


def a_run(results, row="baseline"):
    return Run(results / "runs" / row / "ut_interaction-split1-seed0")


def change_summary(run, **values):
    (run.folder / "summary.json").write_text(json.dumps(run.summary | values))


def change_config(run, old, new):
    file = run.folder / "config.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_results_that_add_up_pass_and_code_that_was_not_committed_is_told(results, capsys):
    assert cli.main(["results", "check", str(results)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "4 runs are of code with changes that were not committed, so nobody else can read it",
        "4 runs and 1 tables, no faults",
    ]


def test_runs_of_a_checkout_without_git_are_told_and_are_merged(results, tmp_path, capsys):
    change_summary(a_run(results), commit=None)
    assert check_results(results) == 0
    assert "1 runs are of code whose commit is not known" in capsys.readouterr().out
    assert merge_results(results, results=tmp_path / "merged") == 0
    assert "baseline/ut_interaction-split1-seed0: added" in capsys.readouterr().out


def test_a_class_whose_column_has_another_name_is_no_fault(results):
    run = a_run(results)
    (first, *others) = run.summary["classes"]
    change_summary(run, classes=["seed", *others])
    file = run.folder / "predictions.csv"
    file.write_text(file.read_text().replace(f",{first},", ",seed (class),"))
    assert check_run(run) == []


def test_a_folder_without_results_is_told(tmp_path, capsys):
    assert cli.main(["results", "check", str(tmp_path)]) == 2
    assert "holds no finished run and no table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("test", {"accuracy": 0.8}, "test.accuracy is 0.8, but 0.75 by what lies beside it"),
        ("best_epoch", {"epoch": 3.0}, "best_epoch.epoch is 3.0, but"),
        ("seconds", {"training": 1.0}, "seconds.training is 1.0, but 189.8"),
        ("seed", 4, "seed is 4, but 0 by what lies beside it"),
    ],
)
def test_a_changed_number_of_a_summary_is_found(results, part, value, told):
    run = a_run(results)
    now = run.summary[part] | value if isinstance(value, dict) else value
    change_summary(run, **{part: now})
    (fault,) = check_run(run)
    assert fault.startswith(told)


def test_a_configuration_that_is_not_that_of_its_row_is_found(results):
    run = a_run(results, "head_gated")
    change_config(run, "residual_pool: true", "residual_pool: false")
    told = "its row in experiments.yaml differs: perceiver.residual_pool (True there, False here)"
    assert check_run(run) == [told]


def test_a_configuration_that_is_not_that_of_its_folder_is_found(results):
    run = a_run(results)
    change_config(run, "split: 1", "split: 2")
    assert "its configuration is that of baseline/ut_interaction-split2-seed0" in check_run(run)


def test_a_run_that_says_hmdb51_must_have_judged_its_official_test_videos(results):
    run = a_run(results)
    change_config(run, "dataset: folder", "dataset: hmdb51")
    assert "its test videos are not the 1,530 of HMDB51's split 1" in check_run(run)


@pytest.mark.parametrize(("old", "new"), [("data:", "data:\n  classes: [hug, kick]"), ("limit: null", "limit: 1")])
def test_a_run_on_a_part_of_hmdb51_is_not_held_against_its_official_test_videos(results, old, new):
    run = a_run(results)
    change_config(run, "dataset: folder", "dataset: hmdb51")
    change_config(run, old, new)
    assert not any("test videos" in fault for fault in check_run(run))


@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_official_lists_are_known_by_their_hash(real_data, split):
    videos = read_split(real_data / "hmdb51_splits", split)
    listed = "\n".join(sorted(videos.path[videos.role == "test"]))
    assert hashlib.sha256(listed.encode()).hexdigest() == OFFICIAL_TEST[split]


def test_what_is_torn_is_told_and_ends_nothing(results):
    (a_run(results).folder / "predictions.csv").write_text("video,group\n")
    assert check_results(results) == 2
    assert check_run(a_run(results))[0].startswith("cannot be read: ")


def test_a_changed_number_of_a_table_is_found(results):
    file = results / "tables" / f"{TABLE}.csv"
    table = pd.read_csv(file, index_col="row")
    table.loc["head_gated", "accuracy"] = 0.9
    table.to_csv(file)
    (fault,) = check_table(file)
    assert fault.startswith("head_gated.accuracy is 0.9, but 0.5")


def test_a_run_that_has_gone_leaves_its_table_wrong(results):
    shutil.rmtree(a_run(results, "head_gated").folder)
    assert any(
        fault.startswith("head_gated.runs is 2, but 1") for fault in check_table(results / f"tables/{TABLE}.csv")
    )


def renamed(results, old, new):
    """The table, after what is called `old` in it and in the names of files and folders has another name."""
    for file in sorted(results.rglob("*"), reverse=True):
        if file.parent.name == "tables":
            file.write_text(file.read_text().replace(old, new))
        file.rename(file.with_name(file.name.replace(old, new)))
    return next((results / "tables").glob("*.csv"))


@pytest.mark.parametrize(
    ("old", "new"), [("ut_interaction", "my videos"), ("head_gated", "head-gated"), ("ut_interaction", "f-frozen")]
)
def test_a_table_finds_its_runs_whatever_its_data_and_rows_are_called(results, old, new):
    assert check_table(renamed(results, old, new)) == []


def test_a_table_of_rows_with_and_without_a_frozen_backbone_finds_the_runs_of_both(results):
    (results / "runs" / "head_gated").rename(results / "runs" / "head_gated-frozen")
    assert check_table(results / f"tables/{TABLE}.csv") == []


def test_a_table_whose_runs_have_gone_is_told_in_a_line(results):
    shutil.rmtree(results / "runs" / "head_gated")
    (fault,) = check_table(results / f"tables/{TABLE}.csv")
    assert fault.startswith("the runs of head_gated have gone from ")


def test_another_csv_among_the_tables_is_left_out_with_a_line(results, capsys):
    (results / "tables" / "notes.csv").write_text("name,what\n")
    assert check_results(results) == 0
    assert "notes.csv: is no table of hmdb study" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("quick: false", "quick: true", "a quick run, which is no result"),
        ("choose_on: validation", "choose_on: test", "chosen on the test part, which its row does not say"),
    ],
)
def test_a_quick_run_and_one_chosen_on_the_test_part_have_no_place_in_a_table(results, old, new, told):
    change_config(a_run(results), old, new)
    assert f"row baseline: ut_interaction-split1-seed0 is {told}" in check_table(results / f"tables/{TABLE}.csv")


def zipped(folder, file):
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return file


def test_folders_and_zip_files_are_merged_into_one_results_folder(results, tmp_path, capsys):
    colab, kaggle = tmp_path / "colab", tmp_path / "kaggle.zip"
    shutil.copytree(results / "runs/baseline", colab / "runs/baseline")
    zipped(results, kaggle)
    merged = tmp_path / "merged"
    assert cli.main(["results", "merge", str(colab), str(kaggle), "--to", str(merged)]) == 0
    told = capsys.readouterr().out
    assert "colab: baseline/ut_interaction-split1-seed0: added as baseline/ut_interaction-split1-seed0" in told
    assert "kaggle.zip: baseline/ut_interaction-split1-seed0: is there already" in told
    assert {run.parent.name for run in merged.glob("runs/*/*")} == set(ROWS)
    assert check_results(merged) == 0


def test_runs_without_labels_are_told_not_to_be_merged(results, tmp_path, capsys):
    folder = results / "pretraining/masked_hybrid/figures-split1-seed0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    assert cli.main(["results", "merge", str(results), "--to", str(tmp_path / "merged")]) == 0
    assert "1 runs without labels in pretraining/ are not copied" in capsys.readouterr().out


def test_two_machines_runs_of_one_seed_are_kept_apart_under_a_name_that_a_study_knows(results, tmp_path):
    other = tmp_path / "my kaggle"
    shutil.copytree(results / "runs", other / "runs")
    run = a_run(other)
    (run.folder / "metrics.csv").write_text(run.metrics.assign(lr=0.1).to_csv(index=False))
    change_summary(run, best_epoch=run.summary["best_epoch"] | {"lr": 0.1})
    for _ in range(2):  # the second time it is there already
        assert merge_results(other, results=results) == 0
    (kept,) = (results / "runs").glob("baseline-my_kaggle/*")
    assert (Run(kept).config.title, Run(kept).summary["name"]) == ("baseline-my_kaggle", "baseline-my_kaggle")
    assert check_run(Run(kept)) == check_run(a_run(results)) == []
    assert len(list((results / "runs").glob("*/*"))) == 5


def test_two_folders_that_differ_behind_a_dot_are_two_sources(results, tmp_path):
    for number, name in enumerate(("machine.a", "machine.b"), 1):
        shutil.copytree(results / "runs/baseline", tmp_path / name / "runs/baseline")
        run = a_run(tmp_path / name)
        (run.folder / "metrics.csv").write_text(run.metrics.assign(lr=number).to_csv(index=False))
        change_summary(run, best_epoch=run.summary["best_epoch"] | {"lr": number})
    assert merge_results(tmp_path / "machine.a", tmp_path / "machine.b", results=results) == 0
    assert {run.parent.name for run in (results / "runs").glob("baseline-*/*")} == {
        "baseline-machine_a",
        "baseline-machine_b",
    }


def test_a_run_that_does_not_add_up_or_is_not_finished_is_refused_with_the_reason(results, tmp_path, capsys):
    change_summary(a_run(results), test=a_run(results).summary["test"] | {"accuracy": 0.8})
    (a_run(results, "head_gated").folder / "summary.json").unlink()
    assert merge_results(results, results=tmp_path / "merged") == 2
    told = capsys.readouterr().out
    assert "baseline/ut_interaction-split1-seed0: refused: test.accuracy is 0.8, but 0.75" in told
    assert "head_gated/ut_interaction-split1-seed0: refused: is not finished" in told
    assert len(list((tmp_path / "merged/runs").glob("*/*"))) == 2


@pytest.mark.parametrize(("name", "told"), [("torn.zip", "is no zip file"), ("empty", "holds no runs/")])
def test_a_source_without_runs_is_told_in_a_line(tmp_path, capsys, name, told):
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "empty").mkdir()
    assert cli.main(["results", "merge", str(tmp_path / name), "--to", str(tmp_path / "to")]) == 2
    assert told in capsys.readouterr().err
