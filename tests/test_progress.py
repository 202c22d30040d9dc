"""Progress bars: lines in a terminal, and in a notebook nothing that is left in the saved file."""

import pytest

from hmdb_lib import progress
from hmdb_lib.progress import Bar


@pytest.fixture
def shown(monkeypatch):
    """What a notebook shows, one HTML an update."""
    import IPython.display  # noqa: PLC0415 - not before `in_notebook` is replaced

    shown = []

    class Handle:
        def update(self, bundle, raw):
            shown.append(bundle["text/html"])

    def display(bundle, raw, display_id):
        shown.append(bundle["text/html"])
        return Handle()

    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", display)
    return shown


def test_a_bar_in_a_notebook_fills_and_is_gone_at_the_end(shown, capsys):
    with Bar(total=4, desc="reading", unit="videos", mininterval=0) as bar:
        bar.update(3)
    assert any('value="3" max="4"' in content and "reading: 3 of 4 videos" in content for content in shown)
    assert shown[-1] == ""
    assert capsys.readouterr() == ("", "")


def test_a_bar_of_unknown_length_has_no_end(shown):
    with Bar(desc="reading", mininterval=0) as bar:
        bar.update(3)
    assert any(content.startswith("<progress></progress> reading: 3 of ?") for content in shown)


def test_a_bar_in_a_terminal_is_a_line(capsys):
    assert list(Bar([1, 2], "reading")) == [1, 2]
    assert "reading: 100%" in capsys.readouterr().err


def test_a_notebook_is_told_a_line_once(shown, capsys):
    for _ in range(2):
        progress.tell("data: a folder")
    assert capsys.readouterr().out == "data: a folder\n"
