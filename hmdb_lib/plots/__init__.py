"""Figures from tables: needs no torch."""
