"""HMDB51: download it, unpack it, prove it whole."""
