"""What reads the tokens B T' H' W' C of a backbone and tells classes apart."""

from typing import Any

from hmdb_lib.errors import UserError, did_you_mean
from hmdb_lib.models.heads.base import Head
from hmdb_lib.models.heads.bert import Bert
from hmdb_lib.models.heads.gru import GRU
from hmdb_lib.models.heads.perceiver import Perceiver
from hmdb_lib.models.heads.pool import Pool, PoolChange

HEADS: dict[str, Any] = {head.name: head for head in (Pool, PoolChange, Perceiver, Bert, GRU)}


def build_head(name: str, channels: int, slots: int, classes: int, **options: object) -> Head:
    """Build a head for tokens of C `channels` in T' `slots`, with random weights; an unknown option is a TypeError.

    UserError names the nearest for an unknown head, and tells options that do not go together.
    """
    if name not in HEADS:
        raise UserError(f"model.head={name}: no such head{did_you_mean(name, HEADS)} (there are {', '.join(HEADS)})")
    return HEADS[name](channels, slots, classes, **options)
