"""Run one experiment from its configuration to its record."""
