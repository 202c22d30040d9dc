"""Train on the local disk and mirror the run's folder to another one: Google Drive is slow, fills up and goes away."""

import errno
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import lightning as L

from hmdb_lib.files import is_there, parts_of, whole_file
from hmdb_lib.results.runs import Run

EVERY = 600  # seconds between two mirrors, at least
WAIT = 300  # seconds that the end waits for a file to be copied
LEFT = "previous.ckpt"  # lies on the local disk alone: it is for a last.ckpt that was torn in writing


class Disk:
    """Do what a mirror asks of the other disk."""

    def write(self, source: Path, target: Path) -> None:
        """Copy a file whole. What it replaces is emptied first: Drive's bin counts against the quota."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target, make_folder=False) as part:
            shutil.copyfile(source, part)
            self.empty(target)

    def empty(self, file: Path) -> None:
        """Leave nothing of a file but its name."""
        if file.exists():
            os.truncate(file, 0)

    def remove(self, file: Path) -> None:
        """Remove a file that is emptied first."""
        self.empty(file)
        file.unlink(missing_ok=True)


class Mirror(L.Callback):
    """Copies what has changed in a run's local folder to its place, at most every ten minutes and at the end.

    It copies in a thread, from hard links to the files of one moment, so that a disk that hangs stops nothing. A fault of
    the other disk is told, and training goes on; the next time it is tried again.

    Args:
        local: the folder in which the run is trained.
        place: where it belongs, in a results folder.
        disk: of `place`.

    """

    def __init__(self, local: Path, place: Path, disk: Disk | None = None) -> None:
        self.local, self.place, self.disk = local, place, disk or Disk()
        self.root = place.parents[2]  # the results folder
        self.copied: dict[str, tuple[int, int]] = {}
        self.last = self.moved = time.monotonic()
        self.fault, self.thread = "", threading.Thread()
        self.root.mkdir(parents=True, exist_ok=True)

    def fetch(self) -> None:
        """Bring what another session left, unless the local folder is as far."""
        if not self.place.exists() or (
            self.local.exists() and len(Run(self.local).metrics) >= len(Run(self.place).metrics)
        ):
            return
        for file in _files(self.place):
            parts = parts_of(file) if not file.stat().st_size else []  # cut off between emptying and renaming
            copy = self.local / file.relative_to(self.place)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(max(parts, key=lambda part: part.stat().st_mtime, default=file), copy)
        self.copied = self._state()

    def start(self) -> None:
        """Begin to copy what has changed and to remove what is gone, unless that is still going on."""
        if self.thread.is_alive():
            self._tell(f"no answer for {time.monotonic() - self.moved:.0f} s")
            return
        self.last = self.moved = time.monotonic()
        try:
            moment = tempfile.TemporaryDirectory(prefix=".mirror-", dir=self.local.parents[2])
            how = {"copy_function": os.link, "ignore": shutil.ignore_patterns(".*", LEFT), "dirs_exist_ok": True}
            shutil.copytree(self.local, moment.name, **how)
        except OSError as error:
            self._tell(str(error))
            return
        self.thread = threading.Thread(target=self._update, args=(moment,), daemon=True)
        self.thread.start()

    def wait(self) -> bool:
        """Wait for what goes on, not longer than `WAIT` for a file; return whether it has ended without a fault."""
        while self.thread.is_alive() and time.monotonic() - self.moved < WAIT:
            self.thread.join(0.1)
        if self.thread.is_alive():
            self._tell(f"no answer for {WAIT} s")
        return not self.fault

    def close(self) -> Run:
        """Mirror for the last time; return the run in its place, or the local one where that fails, and say what is left."""
        self.wait()
        if self.local.exists():
            self.start()
        if self.wait():
            print(f"mirrored: {self.place}")
            return Run(self.place)
        now = self._state()
        left = [name for name in now if self.copied.get(name) != now[name]]
        print(f"not mirrored: {', '.join(left)}; copy {self.local} before this machine ends")
        return Run(self.local)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Mirror the epoch before, whose checkpoints are written by now."""
        if time.monotonic() - self.last >= EVERY:
            self.start()

    def _update(self, moment: tempfile.TemporaryDirectory) -> None:
        with moment as folder:
            try:
                if not is_there(self.root):  # a folder made here would lie under the mount
                    raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), str(self.root))
                now = self._state(Path(folder))
                for name in now:
                    if self.copied.get(name) != now[name]:
                        self.disk.write(Path(folder) / name, self.place / name)
                        self.copied[name] = now[name]
                        self.moved = time.monotonic()
                for name in [name for name in self.copied if name not in now]:
                    self.disk.remove(self.place / name)
                    del self.copied[name]
            except OSError as error:
                self._tell(str(error))
            else:
                self.fault = ""

    def _tell(self, fault: str) -> None:
        if not self.fault:
            print(f"not mirrored to {self.place} ({fault}); training goes on in {self.local}", flush=True)
        self.fault = fault

    def _state(self, folder: Path | None = None) -> dict[str, tuple[int, int]]:
        """Time and size of each file; the run's summary, which marks it as finished, comes last."""
        folder = folder or self.local
        files = sorted(_files(folder), key=lambda file: file.name == "summary.json")
        return {
            file.relative_to(folder).as_posix(): (file.stat().st_mtime_ns, file.stat().st_size)
            for file in files
            if file.name != LEFT
        }


def _files(folder: Path) -> list[Path]:
    """List the files of a run, without those that are being written."""
    return [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
