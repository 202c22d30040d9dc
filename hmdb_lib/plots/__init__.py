"""Figures from tables: needs no torch."""

from hmdb_lib.plots import architecture, classes, clips, curves

__all__ = ["architecture", "classes", "clips", "curves"]
