"""Experiments on small video data sets: R(2+1)D with Perceiver attention on HMDB51, its ablations and its peers."""
