"""`python -m benchmarks.attention`: does the cross attention's memory stay linear in the tokens, and what does it take?

256 latents read M tokens of the CNN cut at four blocks (C = 128 + 39 positions), batch 8, forward and backward: through
torch's fused attention, which the models use, and through a plain softmax that holds all weights.
"""

import math
import resource
import statistics
import time

import torch
from torch import Tensor

from hmdb_lib.environment import Processes
from hmdb_lib.models.heads import perceiver as hybrid

TOKENS = (784, 1568, 3136, 6272, 12544)  # 6,272 are the published study's at 16 x 112 x 112
REPEATS = 3


def plain(q: Tensor, k: Tensor, v: Tensor, dropout_p: float) -> Tensor:
    """Attention as it is written on paper, its weights B heads N M in memory."""
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    return torch.nn.functional.dropout(weights, dropout_p) @ v


def measure(tokens: int, fused: bool) -> tuple[float, float]:
    """Median seconds of a step, and MiB by which the process grew at most. To be run in a fresh process."""
    if not fused:
        hybrid.F.scaled_dot_product_attention = plain
    layer = hybrid.AttentionLayer(512, 1, context=167)
    latents = torch.randn(8, 256, 512, requires_grad=True)
    layer(latents, torch.randn(8, 16, 167)).sum().backward()  # what libraries allocate once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    context = torch.randn(8, tokens, 167)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        layer(latents, context).sum().backward()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    """Print one line for each number of tokens."""
    print("tokens M   fused: s, MiB      plain: s, MiB")
    for tokens in TOKENS:
        found = []
        for fused in (True, False):
            with Processes(1) as pool:
                found += pool.submit(measure, tokens, fused).result()
        print("{:8,}   {:8.3f} {:6.0f}    {:8.3f} {:6.0f}".format(tokens, *found))


if __name__ == "__main__":
    main()
