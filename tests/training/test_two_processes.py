"""One run shared by two processes (gloo, on the CPU) is the run that one process would have done."""

import functools
import os
import shutil
import socket
import subprocess
import sys
import time

import nbformat
import pandas as pd
import psutil
import pytest
import torch
from nbclient import NotebookClient

from hmdb_lib.environment import ROOT
from hmdb_lib.results.metrics import read_only
from hmdb_lib.results.runs import Run

pytestmark = pytest.mark.slow
# Nothing random, batch norm at its running statistics, and plain steps: weights move by the gradient, also when averaged.
STILL = {
    **{
        "data__resize": [64, 64],
        "data__flip": False,
        "model__frozen": 2,
        "perceiver__start": "published",
        "perceiver__latents": 8,
        "perceiver__width": 64,
    },
    **{"train__optimizer": "sgd", "train__schedule": "constant", "train__lr": 1.0, "train__backbone_lr": 1.0},
    **{
        "train__weight_decay": 0.0,
        "train__clip_norm": 0.0,
        "train__epochs": 2,
        "train__ema": 0.9,
        "train__batch_size": 8,
    },
}


def start_in(folder, config):
    """Start a configuration as a command, each process with one thread; its log is in `folder`."""
    file = folder / f"{config.name}.yaml"
    file.write_text(config.to_yaml())
    command = [sys.executable, str(ROOT / "train.py"), "--config", str(file)]
    with (folder / f"{config.name}.log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.fixture
def start(tmp_path):
    """`start_in` the test's own folder."""
    return functools.partial(start_in, tmp_path)


@pytest.fixture
def torchrun(tmp_path):
    """A function that starts a configuration on two machines, both of them this one."""

    def torchrun(config, apart=False):
        file = tmp_path / f"{config.name}.yaml"
        file.write_text(config.to_yaml())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        here = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
        for rank in (0, 1):
            words = ["--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1", *here]
            command = [sys.executable, "-m", "torch.distributed.run", *words]
            with (tmp_path / f"{config.name}{rank}.log").open("w") as log:
                results = {"HMDB_RESULTS": str(tmp_path / f"results{rank}")} if apart else {}
                yield subprocess.Popen(
                    [*command, str(ROOT / "train.py"), "--config", str(file)],
                    stdout=log,
                    stderr=log,
                    env=os.environ | {"OMP_NUM_THREADS": "1"} | results,
                )

    return torchrun


def run_of(config):
    return Run.of(config, os.environ["HMDB_RESULTS"])


def averaged(run):
    return torch.load(run.best, weights_only=True)["state_dict"]


def trained(run):
    """The weights behind the averaged ones, after the last epoch."""
    return torch.load(run.last, weights_only=True)["current_model_state"]


def assert_same_weights(some, others, tolerance):
    assert some.keys() == others.keys()
    for name, value in others.items():
        torch.testing.assert_close(some[name], value, atol=tolerance, rtol=0, msg=name)


def still_run(devices, tiny_experiment, folder):
    """The run of so many processes on one machine, to read only."""
    config = tiny_experiment("cross1_self1", **STILL, name="still", train__devices=devices)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMDB_RESULTS", str(folder / "results"))
        assert start_in(folder, config).wait() == 0
        return run_of(config)


@pytest.fixture(scope="module")
def one(tiny_experiment, tmp_path_factory):
    return still_run(1, tiny_experiment, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def pair(tiny_experiment, tmp_path_factory):
    return still_run(2, tiny_experiment, tmp_path_factory.mktemp("pair"))


def test_two_processes_give_the_loss_and_the_gradients_of_one(one, pair):
    assert pair.metrics.train_clip_loss[0] == pytest.approx(one.metrics.train_clip_loss[0], abs=1e-4)
    assert_same_weights(trained(pair), trained(one), 1e-4)


def test_two_processes_keep_the_averaged_weights_of_one(one, pair):
    assert_same_weights(averaged(pair), averaged(one), 1e-4)


@pytest.fixture(scope="module")
def in_a_kernel(tiny_experiment, tmp_path_factory):
    """The run that two processes of a notebook trained, what it printed, and what one that they refuse printed."""
    folder = tmp_path_factory.mktemp("kernel")
    trained = tiny_experiment("cross1_self1", **STILL, name="kernel", train__devices=2)
    refused = tiny_experiment(name="refused", train__batch_size=3, train__devices=2)
    code = ["import hmdb_lib as hl"]
    for config in (trained, refused):
        file = folder / f"{config.name}.yaml"
        file.write_text(config.to_yaml())
        code.append(f"run = hl.train(hl.load_config(file={str(file)!r}), live=True)")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in code])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMDB_RESULTS", str(folder / "results"))
        patch.setenv("OMP_NUM_THREADS", "1")
        options = {"kernel_name": "python3", "allow_errors": True, "resources": {"metadata": {"path": ROOT}}}
        NotebookClient(notebook, **options).execute()
        return run_of(trained), notebook.cells[1].outputs, notebook.cells[2].outputs


def test_a_notebook_starts_two_processes_that_end_as_those_of_the_shell_do(in_a_kernel, pair):
    run, outputs, _ = in_a_kernel
    assert [output.evalue for output in outputs if output.output_type == "error"] == []
    assert any(output.output_type == "display_data" for output in outputs)  # the curves
    assert "test accuracy" in [line for output in outputs for line in output.get("text", "").splitlines()][-1]
    assert_same_weights(averaged(run), averaged(pair), 1e-6)


def test_a_fault_in_a_notebooks_processes_is_told_in_a_line(in_a_kernel):
    (error,) = (output for output in in_a_kernel[2] if output.output_type == "error")
    assert error.ename == "UserError"
    assert "train.batch_size=3 cannot be shared evenly by 2 devices" in error.evalue


def test_two_machines_give_the_loss_and_the_weights_of_two_processes_on_one(tiny_config, torchrun, pair):
    two = tiny_config("cross1_self1", **STILL, name="two", train__machines=2)
    assert [process.wait() for process in list(torchrun(two))] == [0, 0]
    assert_same_weights(averaged(run_of(two)), averaged(pair), 1e-6)
    assert len(run_of(two).predictions) == 4


def test_machines_that_do_not_share_the_results_folder_are_refused_on_each_of_them(tiny_config, torchrun, tmp_path):
    two = tiny_config(name="two", train__machines=2, train__batch_size=2)
    assert 0 not in [process.wait() for process in list(torchrun(two, apart=True))]
    for rank in (0, 1):
        assert "is another folder on each machine" in (tmp_path / f"two{rank}.log").read_text()


@pytest.fixture(scope="module")
def odd_pair(tiny_experiment, tiny_videos, tmp_path_factory):
    """The run of two processes on five test videos, of which rank 1 cannot read its first, nor one to train on."""
    folder = tmp_path_factory.mktemp("odd")
    shutil.copytree(tiny_videos, folder / "data")
    index = pd.read_csv(folder / "data" / "index.csv")
    test = index[index.split == "test"]
    more = test[:2].assign(path=["bright/more.avi", "dark/more.avi"], group=["more0", "more1"])
    for path, copy in zip(test.path, more.path, strict=False):
        shutil.copy(folder / "data" / path, folder / "data" / copy)
    pd.concat([index, more]).to_csv(folder / "data" / "index.csv", index=False)
    missing, first, unreadable, *others = [*test.path, *more.path]
    (folder / "data" / missing).unlink()
    for path in (unreadable, "bright/0.avi"):
        (folder / "data" / path).write_text("this is not a video")
    broken = {"data__root": folder / "data", "data__max_lost": 0.5}
    config = tiny_experiment(name="odd", train__devices=2, train__batch_size=2, **broken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMDB_RESULTS", str(folder / "results"))
        assert start_in(folder, config).wait() == 0
        return run_of(config), {first, *others}, unreadable


def test_two_processes_judge_every_video_once_and_write_one_set_of_results(odd_pair):
    run, judged, _ = odd_pair
    assert sorted(read_only(run.predictions).video) == sorted(judged)
    assert run.metrics.epoch.tolist() == [0, 1]


def test_two_processes_pass_over_what_one_cannot_read_and_record_what_any_could_not(odd_pair):
    run, _, unreadable = odd_pair
    assert set(run.summary["unreadable"]) == {"bright/0.avi", unreadable}


def test_two_processes_learn_without_labels(tiny_config, start):
    small = {"perceiver__latents": 8, "perceiver__width": 64, "train__batch_size": 2, "train__epochs": 1}
    config = tiny_config("masked_hybrid", **small, name="two", train__devices=2)
    assert start(config).wait() == 0
    assert run_of(config).metrics.train_loss.notna().all()


def test_when_one_process_is_killed_the_other_ends_within_a_minute_and_the_run_goes_on(tiny_config, start):
    whole, cut = (
        tiny_config(name=name, train__devices=2, train__batch_size=2, train__epochs=6) for name in ("whole", "cut")
    )
    assert start(whole).wait() == 0
    first = start(cut)
    run = run_of(cut)
    while not run.last.exists():
        assert first.poll() is None
        time.sleep(0.02)
    (second,) = psutil.Process(first.pid).children()
    second.kill()
    assert first.wait(timeout=60) != 0
    assert not run.finished
    assert start(cut).wait() == 0
    pd.testing.assert_frame_equal(run.predictions, run_of(whole).predictions, check_exact=True)


def test_a_run_of_one_process_goes_on_as_two_and_stays_the_same_experiment(tiny_config, start, one):
    moved = tiny_config("cross1_self1", **STILL, name="moved")
    first, run = start(moved), run_of(moved)
    while not run.last.exists():
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    assert start(moved.changed("train", devices=2)).wait() == 0
    assert_same_weights(trained(run), trained(one), 1e-4)
