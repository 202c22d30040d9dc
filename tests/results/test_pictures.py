"""The README's pictures are those that the notebooks' code draws of what the repository holds."""

import runpy

import pytest
from matplotlib.testing.compare import compare_images

from hmdb_lib.environment import ROOT

FIGURES = ROOT / "results" / "figures"
OF_WEIGHTS = {"actors", "attention_over_time"}  # of models whose checkpoints are not committed


@pytest.mark.slow
def test_the_pictures_are_drawn_again_alike(full_sample, tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_DATA", str(full_sample.parent))
    runpy.run_path(str(FIGURES / "draw.py"))["main"](tmp_path)
    for file in sorted(file for file in FIGURES.glob("*.png") if file.stem not in OF_WEIGHTS):
        # Decoders and fonts differ a little between machines.
        assert compare_images(str(file), str(tmp_path / file.name), tol=5) is None
