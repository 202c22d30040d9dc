"""The data commands: what they accept, and what their help needs."""

import argparse
import inspect
import subprocess
import sys

import pytest

from data_prep.__main__ import main
from data_prep.commands import add_commands
from data_prep.drawn.pairs import PAIRS, make_pairs
from data_prep.drawn.sample import make_sample
from data_prep.extract import Setting

COMMANDS = ["download", "verify", "extract", "pack", "unpack", "sample", "pairs"]


def parse(*words):
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    return parser.parse_args(words)


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)])
def test_help_needs_the_standard_library_alone(words):
    ours = {"data_prep", "hmdb_lib"}
    code = (
        "import sys\nfrom data_prep.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        f"extra = {{name.partition('.')[0] for name in sys.modules}} - set(sys.stdlib_module_names) - {ours!r}\n"
        "sys.exit(code or int(bool(extra & {'numpy', 'pandas', 'av', 'torch', 'PIL', 'tqdm', 'yaml', 'httpx'})))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in words or COMMANDS)


def test_defaults_are_those_of_the_functions():
    sample, pairs = (inspect.signature(function).parameters for function in (make_sample, make_pairs))
    asked = parse("sample", "root")
    assert (asked.seed, asked.clips) == (sample["seed"].default, sample["clips"].default)
    asked = parse("pairs", "root")
    assert (asked.seed, asked.clips, asked.classes) == (pairs["seed"].default, pairs["clips"].default, len(PAIRS))
    asked = parse("extract", "root")
    assert Setting(tuple(asked.size), asked.quality) == Setting()
    assert not asked.no_antialias


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sample", "root", "--workers", "0"], "'0' is not a whole number from 1 on"),
        (["extract", "root", "--part", "5/4"], "'5/4' is not K/N with K from 1 to N"),
        (["extract", "root", "--size", "4", "5", "--short-side", "3"], "not allowed with argument"),
        (["extract", "root", "--shards", "-1"], "'-1' is not a whole number from 1 on"),
    ],
)
def test_an_argument_that_cannot_be_is_told_with_its_name(words, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    told = capsys.readouterr().err.splitlines()[-1]
    assert said in told
    assert words[2] in told or words[-2] in told
