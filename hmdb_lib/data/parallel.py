"""Share work among processes."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import parent_process
from threading import Thread
from typing import Any

from hmdb_lib.environment import Processes, cores
from hmdb_lib.errors import UserError
from hmdb_lib.progress import Bar


def parallel_map(
    work: Callable[[Any], Any], jobs: Sequence[Any], workers: int | None, desc: str, unit: str = "file"
) -> Iterator[Any]:
    """Yield `work(job)` for each job, in their order, with a progress bar.

    `workers`: processes, one per core by default; one worker is this process. Raises UserError when a process is killed.
    """
    workers = min(workers or cores(), len(jobs))
    if workers <= 1:
        yield from Bar(map(work, jobs), desc, len(jobs), unit=unit)
        return
    pool = Processes(workers, _end_with_parent)
    try:
        yield from Bar(pool.map(work, jobs), desc, len(jobs), unit=unit)
    except BrokenProcessPool:
        raise UserError(
            f"{desc}: a process was killed, perhaps for memory; call again, finished work is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    # The processes of a pool wait for ever when their parent is killed, and would write beside the next run.
    parent = parent_process()

    def watch() -> None:
        if parent:
            parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
