"""Tokens of clips that a frozen backbone computes once: store them, train heads on them, probe them."""
