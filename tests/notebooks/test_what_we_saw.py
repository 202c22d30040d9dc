"""What a notebook concludes: it shows a picture without being run, and its numbers stand in the files that it links to."""

import re
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

from hmdb_lib.environment import ROOT

FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def markdown(file):
    return [cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "markdown"]


def links(text):
    """Paths of this repository that a Markdown text links to or shows."""
    found = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    return [Path(name) for name in found if not name.startswith("http")]


def numbers(text):
    """Accuracies with their intervals, intervals, and other numbers with a point."""
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)
    pairs = re.findall(r"(\d+\.\d) % (\[[^\]]*\d\])", text)
    return pairs, re.findall(r"\d+\.\d+", text)


@every_notebook
def test_a_notebook_shows_a_picture_on_github(file):
    """GitHub renders notebooks as nbconvert's basic template does; outputs are stripped."""
    page, _ = HTMLExporter(template_name="basic").from_filename(str(file))
    shown = re.findall(r'<img[^>]* src="(?!https?:)([^"]+)"', page)
    assert shown
    assert [name for name in shown if not (file.parent / name).is_file()] == []


@every_notebook
def test_every_link_of_a_notebook_leads_to_a_file(file):
    assert [str(name) for text in markdown(file) for name in links(text) if not (file.parent / name).exists()] == []


@every_notebook
def test_what_we_saw_ends_with_things_to_try_and_the_next_notebook(file):
    last = markdown(file)[-1]
    assert "**Try this**\n\n- " in last
    following = FILES[FILES.index(file) + 1 :]
    assert not following or f"]({following[0].name})" in last


@every_notebook
def test_every_number_of_what_we_saw_stands_in_a_file_that_it_links_to(file):
    last = markdown(file)[-1]
    texts = [(file.parent / name).read_text() for name in links(last) if name.suffix in (".md", ".csv")]
    lines = [line.replace("+", "") for text in texts for line in text.splitlines()]
    pairs, single = numbers(last)
    assert [pair for pair in pairs if not any(pair[0] in line and pair[1] in line for line in lines)] == []
    assert [
        number for number in single if not any(re.search(rf"(?<![\d.]){number}(?![\d])", line) for line in lines)
    ] == []


def test_a_number_that_a_table_does_not_hold_would_be_seen():
    assert numbers("named 56.4 % [50.5, 62.1] of them; `0.05` is a setting") == (
        [("56.4", "[50.5, 62.1]")],
        ["56.4", "50.5", "62.1"],
    )
