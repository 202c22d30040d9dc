"""`import hmdb_lib as hl` is all that a user imports: quick, whole, and each name with an example."""

import inspect
import subprocess
import sys

import pytest

import hmdb_lib as hl


def loaded_by(code):
    """Which of the heavy libraries a fresh Python has loaded after the code."""
    told = f"import sys; {code}; print([name for name in ('torch', 'pandas', 'pydantic', 'av') if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.strip()


def test_the_import_needs_the_standard_library_alone():
    assert loaded_by("import hmdb_lib") == "[]"


def test_results_and_figures_are_read_without_torch():
    assert "torch" not in loaded_by("import hmdb_lib as hl; hl.list_runs; hl.results_table; hl.published; hl.plots")


def test_what_dir_shows_is_what_there_is():
    assert dir(hl) == hl.__all__
    assert all(getattr(hl, name) is not None for name in hl.__all__)


@pytest.mark.parametrize("name", sorted(set(hl.__all__) - {"UserError", "plots", "widgets"}))
def test_each_verb_has_a_docstring_with_an_example(name):
    assert f"hl.{name}(" in inspect.getdoc(getattr(hl, name))


def test_a_wrong_name_tells_those_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'trian'; it has .*train"):
        hl.trian  # noqa: B018


def test_keys_are_given_by_their_dotted_names():
    config = hl.load_config("baseline", quick=True, **{"train.lr": 1e-5, "data.resize": [80, 90]})
    assert (config.row, config.quick, config.train.lr, config.data.resize) == ("baseline", True, 1e-5, [80, 90])
