"""Paired measurements against the peers, one command each."""
