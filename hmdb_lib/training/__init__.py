"""One experiment from configuration to record."""
