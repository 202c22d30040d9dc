"""How many cores this process may use."""

import os


def cores() -> int:
    """Fewer than the machine has where a scheduler, a container or taskset says so."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS or Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
