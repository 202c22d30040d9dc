"""Starting runs as processes: one after the other here, one a GPU, or as many at once as a Ray cluster has room for."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from hmdb_lib import environment
from hmdb_lib.environment import IN_CHECKOUT, ROOT
from hmdb_lib.errors import UserError

TRAIN = [str(ROOT / "train.py")] if IN_CHECKOUT else ["-m", "hmdb_lib", "train"]
TIME_IS_UP = 75  # exit code of a run that --until stopped: the system's own for "try again later"
WATCH = 1.0  # seconds between two looks at a run
TRIES = 3  # of a run whose process or machine was killed: it goes on from its checkpoint


@dataclass(frozen=True)
class Command:
    """Hold the words for train.py, and the file that keeps what it prints (None: the terminal)."""

    arguments: list[str]
    log: Path | None = None


class KilledError(Exception):
    """Report a run that a signal ended; Ray tries it again."""


def one_by_one(
    commands: Sequence[Command], fits: Callable[[int], bool], watch: Callable[[int], None]
) -> Iterator[tuple[int, int | None]]:
    """Run commands in order: yields (number, None) when one starts, (number, exit code) when it has ended.

    `fits` says of a number whether there is time to start it; `watch` is called with it again and again while it runs.
    """
    for number, command in enumerate(commands):
        if not fits(number):
            continue
        yield number, None
        yield number, train(command, partial(watch, number))


def on_ray(
    commands: Sequence[Command], place: environment.Place, address: str | None, gpus: float
) -> Iterator[tuple[int, int | None]]:
    """Run commands as Ray tasks: yields (number, exit code) in the order in which they end.

    `address` is a cluster's, None starts Ray on this machine. A run takes `gpus` of one (0.5: two runs share it), or a
    core where that is 0. The folders of `place` and this project must be at the same path on every machine. A run whose
    process or machine is killed is started again, at most twice. Raises UserError.
    """
    # Under `uv run` Ray would set up the whole project anew for its workers.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    try:
        import ray  # noqa: PLC0415 - optional
        import ray.exceptions  # noqa: PLC0415
    except ImportError:
        raise UserError("--on ray needs Ray, which is not installed: pip install ray") from None
    same = {
        "PYTHONPATH": str(ROOT),
        "HMDB_DATA": str(place.data.absolute()),
        "HMDB_RESULTS": str(place.results.absolute()),
    }
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": same})
    except (ConnectionError, ValueError) as error:
        raise UserError(f"--address {address}: no Ray cluster answers there ({error})") from None
    try:
        remote: Any = ray.remote  # its types know less than it takes
        task = remote(num_cpus=1, num_gpus=gpus, max_retries=TRIES - 1, retry_exceptions=[KilledError])(_train_or_raise)
        waiting = {task.remote(command): number for number, command in enumerate(commands)}
        while waiting:
            (done, *_), _ = ray.wait(list(waiting))
            number = waiting.pop(done)
            try:
                yield number, ray.get(done)
            except (KilledError, ray.exceptions.RayError):
                yield number, -9
    finally:
        ray.shutdown()


def side_by_side(
    commands: Sequence[Command], fits: Callable[[int], bool], watch: Callable[[int], None], at_once: int
) -> Iterator[tuple[int, int | None]]:
    """Run so many commands at once, each with a GPU of its own where there are GPUs: yields (number, exit code).

    They come in the order in which they end. `fits` and `watch` are those of `one_by_one`. Raises UserError where there are
    fewer GPUs.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = given.split(",") if given else list(map(str, range(at_once)))
    there = min(len(gpus), torch.cuda.device_count())
    if torch.cuda.is_available() and there < at_once:
        raise UserError(f"--at-once {at_once}: each run takes a GPU of its own, and there is {there}")
    waiting, running, watched = list(range(len(commands))), {}, time.monotonic()
    with contextlib.ExitStack() as stack:
        while waiting or running:
            for gpu in gpus[:at_once]:
                if gpu in running and (code := running[gpu][1].poll()) is not None:
                    yield running.pop(gpu)[0], code
                while gpu not in running and waiting:
                    number = waiting.pop(0)
                    if fits(number):
                        child = stack.enter_context(_started(commands[number], {"CUDA_VISIBLE_DEVICES": gpu}))
                        running[gpu] = number, child
            time.sleep(0.1)
            if time.monotonic() - watched > WATCH:
                watched = time.monotonic()
                for number, _ in running.values():
                    watch(number)


def train(command: Command, watch: Callable[[], None] = lambda: None) -> int:
    """Run train.py and return its exit code. The run ends when this process does: its standard input closes."""
    with _started(command) as child:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return child.wait(timeout=WATCH)
                watch()
        except KeyboardInterrupt:
            # The terminal told the run as well, which may be writing a checkpoint.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=10)
            raise


@contextlib.contextmanager
def _started(command: Command, variables: Mapping[str, str] = MappingProxyType({})) -> Iterator[subprocess.Popen]:
    words = [sys.executable, *TRAIN, *command.arguments, "--end-with-stdin"]
    with contextlib.ExitStack() as stack:
        log = None
        if command.log:
            command.log.parent.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(command.log.open("a"))
        streams = {"stdin": subprocess.PIPE, "stdout": log, "stderr": subprocess.STDOUT if log else None}
        yield stack.enter_context(subprocess.Popen(words, **streams, env={**os.environ, **variables}))


def _train_or_raise(command: Command) -> int:
    code = train(command)
    if code < 0:
        raise KilledError(f"signal {-code}")
    return code
