"""Tell what goes on: progress bars, and lines that are not printed again and again.

A bar is a line in a terminal. In a notebook it is plain HTML and is gone when it ends: a widget would leave a dead
line in the saved file.
"""

import html
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from tqdm.std import tqdm


def in_notebook() -> bool:
    """Tell whether a Jupyter kernel runs this, without importing IPython."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def tell(line: str) -> None:
    """Print a line; in a notebook only once, where cell after cell loads the same data."""
    (_tell_once if in_notebook() else print)(line)


@cache
def _tell_once(line: str) -> None:
    print(line)


@contextmanager
def quiet(level: int, *names: str) -> Iterator[None]:
    """Keep what these loggers tell below a level out of the output."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.setLevel(was)


class Spot:
    """Show HTML in a notebook, in the place of what was shown before."""

    shown: Any = None

    def show(self, content: str) -> None:
        """Show it, or put it in place of what is there."""
        from IPython.display import display  # noqa: PLC0415 - there where notebooks are

        bundle = {"text/html": content, "text/plain": ""}
        if self.shown is None:
            self.shown = display(bundle, raw=True, display_id=True)
        else:
            self.shown.update(bundle, raw=True)


class Bar(tqdm):
    """Show one bar, called as tqdm is: over an iterable, or with `total` and `update`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.spot, self.as_html = Spot(), in_notebook()
        if self.as_html:
            # tqdm writes its line feeds there; what is seen goes through `display`.
            named |= {"file": io.StringIO(), "leave": False}
        super().__init__(*arguments, **named)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: D102 - called by tqdm
        if not self.as_html:
            super().display(msg, pos)
            return
        self.spot.show("" if msg == "" else self._html())

    def _html(self) -> str:
        form = "{desc}: {n_fmt} of {total_fmt} {unit}, {elapsed} gone, {remaining} left{postfix}"
        text = self.format_meter(**{**self.format_dict, "bar_format": form})
        of = f' value="{self.n}" max="{self.total}"' if self.total else ""
        return f"<progress{of}></progress> {html.escape(text)}"
