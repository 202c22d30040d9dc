"""The first hour, with stand-ins: a small made HMDB51, and made weights in the place of the hub's."""

import contextlib
import io
import json
import shutil
import time

import numpy as np
import pytest

from hmdb_lib import cli
from hmdb_lib.data.video import write_video
from hmdb_lib.models.backbones.base import Backbone
from hmdb_lib.models.backbones.video_transformers import VideoTransformer
from hmdb_lib.studies import first_hour as hour, study

SMALL = [
    "data.resize=[72,72]",
    "data.crop=64",
    "data.frames=8",
    "data.workers=0",
    "evaluate.clips=1",
    "train.warmup_epochs=0",
]
SMALL += ["train.precision=fp32", "data.validation_share=0.3"]


def write_hmdb51(root):
    """Two classes, six sources of two clips each; the lists of every split as HMDB51 writes them."""
    random = np.random.default_rng(0)
    for label, low in (("golf", 0), ("wave", 150)):
        roles = []
        for number in range(12):
            source, role = f"film{number // 2}", 1 if number < 8 else 2
            name = f"{source}_{label}_f_cm_np1_fr_med_{number % 2}.avi"
            (root / "videos" / label).mkdir(parents=True, exist_ok=True)
            frames = random.integers(low, low + 100, (10, 64, 64, 3), dtype=np.uint8)
            write_video(root / "videos" / label / name, frames, 30)
            roles.append(f"{name} {role} \n")
        (root / "splits").mkdir(exist_ok=True)
        for split in (1, 2, 3):
            (root / "splits" / f"{label}_test_split{split}.txt").write_text("".join(roles))
    return root


class Machine:
    """A fresh machine whose downloads are made: the data, and weights of the true shape; `asked` lists them in order."""

    def __init__(self, folder):
        self.folder, self.results, self.asked = folder, folder / "results", []

    def call(self, **how):
        """Spend an hour; return the findings and what was printed."""
        self.asked.clear()
        with contextlib.redirect_stdout(io.StringIO()) as out:
            findings = hour.first_hour(hours=5, splits=[1, 2], changes=SMALL, **how)
        return findings, out.getvalue()

    def fetch(self, backbone, source):
        self.asked.append(f"{backbone.name} {source}")
        return {key.removeprefix(backbone.prefix): value for key, value in backbone.state_dict().items()}

    def study(self, name, *, hours, **how):
        self.asked.append(f"{name} {hours:.0f} hours")
        return "the table"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("machine"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMDB_DATA", str(machine.folder / "data"))
        patch.setenv("HMDB_RESULTS", str(machine.results))
        patch.setattr(hour, "get_hmdb51", lambda root: machine.asked.append("data") or write_hmdb51(root))
        for kind in (Backbone, VideoTransformer):
            patch.setattr(kind, "fetch", lambda self, source: machine.fetch(self, source))
        patch.setattr(study, "run_study", machine.study)
        patch.setattr(hour, "measure_step", lambda experiment, classes, clips: {"seconds_judging": 10.0 * clips})
        yield machine


@pytest.fixture(scope="module")
def first(machine):
    """The first call on that machine: findings, what was printed, and what was asked of the network."""
    return *machine.call(), list(machine.asked)


@pytest.mark.slow
def test_a_first_hour_ends_with_probes_a_place_on_the_board_a_finding_and_the_rest_of_the_time_for_heads(
    machine, first
):
    findings, told, asked = first
    assert asked[0] == "data"
    assert asked[-2:] == ["xclip_patch32 kinetics400", "attention_depth 5 hours"]
    assert set(asked[1:-2]) == {"r2plus1d_18 kinetics400"}
    assert len(list(machine.results.glob("runs/baseline-*-frozen/hmdb51-split[12]-seed0/summary.json"))) == 4
    assert "about 0:04:00 for 24 videos and reading them: forecast from four random clips, not measured" in told
    assert "of the 35 models of the public board are above" in told
    (finding,) = findings
    assert finding.startswith("finding: microsoft/xclip-base-patch32: ")
    assert "62.7 on the board: they differ by more than draws do" in finding


@pytest.mark.slow
def test_a_second_call_does_no_step_again_and_says_how_long_each_took(machine, first):
    file = machine.results / "first_hour.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"features": kept["features"] | {"seconds": 750}}))
    findings, told = machine.call()
    assert findings == first[0]
    assert machine.asked == ["attention_depth 5 hours"]
    assert "features: done before, it took 0:12:30" in told


@pytest.mark.slow
def test_a_step_is_done_again_after_the_file_of_its_configuration_was_edited(machine, first, tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path / "results"))
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 1\n")
    machine.call(file=file)
    assert "probes: done before" in machine.call(file=file)[1]
    file.write_text("seed: 2\n")
    assert "probes: begins" in machine.call(file=file)[1]


@pytest.mark.slow
def test_on_a_fresh_disk_the_data_are_fetched_again_and_what_is_recorded_is_not_computed(machine, first):
    shutil.rmtree(machine.folder / "data")
    machine.call()
    assert machine.asked == ["data", "attention_depth 5 hours"]


def test_heads_wait_for_the_next_call_where_no_time_is_left(capsys, monkeypatch):
    monkeypatch.setattr(hour._Steps, "run", lambda self, name, *of, **more: [])
    begun = time.time()
    monkeypatch.setattr(time, "time", iter([begun, begun + 4000]).__next__)
    assert hour.first_hour(hours=1, changes=[*SMALL, "data.dataset=hmdb51"]) == []
    assert "heads: no time is left for them" in capsys.readouterr().out


def test_calibration_says_so_where_the_board_lies_within_what_draws_differ_by():
    draws = 0.627 + np.array([-0.02, 0.02] * 5)
    assert hour.calibrate(draws, 0.63) == (
        True,
        "microsoft/xclip-base-patch32: 62.7 [60.6, 64.8] here, 63.0 on the board",
    )
    assert not hour.calibrate(draws, 0.66)[0]


def test_the_interval_of_calibration_holds_19_of_20_means_of_other_draws():
    random = np.random.default_rng(0)
    held = [hour.calibrate(random.normal(0.6, 0.02, 10), random.normal(0.6, 0.02, 10).mean())[0] for _ in range(1000)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_the_command_checks_the_machine_first_and_ends_with_2_for_a_finding(monkeypatch, capsys):
    given = {}
    monkeypatch.setattr("hmdb_lib.doctor.examine", lambda: 0)
    monkeypatch.setattr(hour, "first_hour", lambda **how: given.update(how) or ["finding: x"])
    assert cli.main(["first-hour", "--hours", "2", "--splits", "1", "seed=3"]) == 2
    assert (given["hours"], given["splits"], given["changes"]) == (2.0, [1], ["seed=3"])
