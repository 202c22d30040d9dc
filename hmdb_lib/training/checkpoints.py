"""Keep a run's work: write whole checkpoints, keep the one before, print faults in one line."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from hmdb_lib.errors import UserError
from hmdb_lib.files import is_there, report_refusals, whole_file
from hmdb_lib.models.pretrained import read_torch
from hmdb_lib.results.runs import Run


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it there; the last.ckpt before it becomes previous.ckpt.

    Lightning's own way writes into the system's temporary folder and moves, which is a copy wherever results lie on
    another disk (a mounted Drive): a crash then leaves half a file.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        """Called by Lightning."""
        file = Path(path)
        try:
            with whole_file(file, make_folder=False) as part:
                with part.open("wb") as target:
                    torch.save(checkpoint, target)
                    target.flush()
                    os.fsync(target.fileno())
                if file == self.run.last and file.exists():
                    file.replace(self.run.previous)
        except BaseException as error:
            if isinstance(error.__context__, OSError):  # a full disk, which torch's own complaint hides
                raise error.__context__ from error
            raise

    def load_checkpoint(self, path: Any, *options: Any, **more: Any) -> dict[str, Any]:
        """Called by Lightning, which would forget the best epoch so far of a run whose folder has moved."""
        checkpoint = super().load_checkpoint(path, *options, **more)
        for state in checkpoint.get("callbacks", {}).values():
            if "dirpath" in state:
                state |= _moved(state, state["dirpath"], os.path.realpath(self.run.checkpoints))
        return checkpoint


def _moved(value: Any, before: str, now: str) -> Any:
    """Put another folder in the place of one in all paths."""
    if isinstance(value, dict):
        return {_moved(key, before, now): _moved(of, before, now) for key, of in value.items()}
    return value.replace(before, now, 1) if isinstance(value, str) else value


class EventLog(TensorBoardLogger):
    """TensorBoard's files in a run's folder; its writing thread has ended when the log is closed, also by a fault.

    A thread left behind would report its fault after `faults_told` did.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run.folder, name="", version="tensorboard")

    def finalize(self, status: str) -> None:
        """Called by Lightning."""
        try:
            super().finalize(status)
        except OSError:
            with suppress(OSError):
                self.experiment.file_writer.close()  # waits for the thread; the experiment's own close stops before
            raise


def newest_whole(run: Run) -> tuple[Path | None, int]:
    """Find the checkpoint to resume from, or None, and how many epochs it has; a torn one is printed and passed over."""
    there = [file for file in (run.last, run.previous) if file.exists()]
    for file in there:
        try:
            return file, read_torch(file)["epoch"] + 1
        except UserError as error:
            told = f"{file}: torn ({type(error.__cause__).__name__})"
            print(f"{told}; going back to the checkpoint before it, or to the start")
    return None, 0


@contextmanager
def faults_told(run: Run) -> Iterator[None]:
    """Turn what a machine does to a run (no disk, no folder, no memory) into a UserError that says what to do.

    TensorBoard writes in a thread of its own and raises that thread's OSError here too: the trace that Python would
    print beside it is left out.
    """
    report = threading.excepthook
    threading.excepthook = lambda fault: None if isinstance(fault.exc_value, OSError) else report(fault)
    kept = f"what was finished is kept in {run.folder}, and the same command goes on from it"
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(_no_memory(error)) from error
    except ValueError as error:
        if "parameter group" not in str(error):
            raise
        raise UserError(
            f"{run.last}: groups its weights by rate as an older release did; end the run with that one, or begin anew "
            "under a new name=..."
        ) from error
    except (OSError, RuntimeError) as error:
        text = str(error)
        if "not enough memory" in text or "can't allocate memory" in text:
            raise UserError(_no_memory(error)) from error
        if "DataLoader worker" in text and "killed" in text:
            raise UserError(
                f"a process that reads videos was killed, mostly for want of memory ({text.splitlines()[0]}); set a "
                f"smaller data.workers; {kept}"
            ) from error
        if isinstance(error, torch.distributed.DistBackendError) or "gloo" in text:
            raise UserError(f"another process of this run has ended ({text.splitlines()[0][:120]}); {kept}") from error
        if not is_there(run.folder):
            raise UserError(
                f"{run.folder}: the results folder is gone; is the disk or Drive that it lies on still mounted? Mount it "
                "again, and the same command goes on from the last checkpoint there"
            ) from error
        try:
            with report_refusals(run.folder):
                raise
        except UserError as told:
            raise UserError(f"{told}; {kept}") from error
    finally:
        threading.excepthook = report


def _no_memory(error: BaseException) -> str:
    return (
        f"out of memory ({str(error).splitlines()[0]}); halve train.batch_size and double train.accumulate, which trains "
        "alike, or set train.checkpointing=true, under a new name=..."
    )
