"""Networks that turn clips into tokens."""
