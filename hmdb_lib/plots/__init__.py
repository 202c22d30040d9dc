"""Figures from tables: needs no torch."""

from hmdb_lib.plots import classes, clips, curves

__all__ = ["classes", "clips", "curves"]
