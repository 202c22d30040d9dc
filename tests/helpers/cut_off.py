"""Runs that are cut off, and how they are compared with whole ones."""

import pandas as pd

from hmdb_lib.results.runs import Run


def assert_same(run, other):
    """All but the seconds, to the last digit."""
    columns = [name for name in run.metrics.columns if name != "seconds"]
    pd.testing.assert_frame_equal(run.metrics[columns], other.metrics[columns], check_exact=True)
    pd.testing.assert_frame_equal(run.predictions, other.predictions, check_exact=True)


def stop_after(epoch, monkeypatch):
    """Let runs end at an epoch's row as if by Ctrl-C, before its checkpoint."""
    write = Run.write_epoch

    def cut(self, row):
        write(self, row)
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_epoch", cut)
