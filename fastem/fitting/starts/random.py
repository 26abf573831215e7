"""The start from random responsibilities."""

from __future__ import annotations

import numpy as np

from fastem.fitting.starts.beginning import Beginning
from fastem.kernels.mixture import RESP
from fastem.model.maximisation import GaussianModel
from fastem.model.params import unit_spheres
from fastem.passes.statistics import overall
from fastem.passes.sums import Accumulator, Sums
from fastem.sources.blocks import Block, Source
from fastem.sources.parts import PartedSource, reduce_to


def from_random(source: Source, K: int, model: GaussianModel, rng: np.random.RandomState) -> Beginning:
    """Return the statistics of responsibilities that are drawn uniformly and normalised.

    They are drawn in scikit-learn's order, and not for rows of weight 0.
    """
    mean = overall(source, second_moments=False)
    origin, shape = unit_spheres(np.repeat(mean.origin, K, axis=0)), model.moments_shape(K, source.n_features)
    # Parts are done in no order, each where it is: what a block draws then depends on its place alone.
    seed = rng.randint(2**32, size=4, dtype=np.uint32) if isinstance(source, PartedSource) else None

    def add(block: Block) -> Sums:
        present = block.weights() > 0
        generator = rng if seed is None else np.random.RandomState([*seed, *divmod(block.start, 2**32)])
        drawn = generator.uniform(size=(np.count_nonzero(present), K))
        resp = np.zeros((len(block.X), K))
        resp[present] = drawn / drawn.sum(axis=1, keepdims=True)
        return Accumulator(origin, shape, RESP).sums(block._replace(labels=resp))

    grain = Accumulator(origin, shape, RESP).block_rows
    return Beginning(reduce_to(source, Sums.stats, add, max(1024, 2**20 // K), grain))  # 8 MiB of uniforms at a time
