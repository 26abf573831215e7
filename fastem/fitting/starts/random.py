"""The start from random responsibilities."""

from __future__ import annotations

import numpy as np

from fastem.fitting.starts.beginning import Beginning
from fastem.kernels.mixture import RESP
from fastem.model.maximisation import GaussianModel
from fastem.model.params import unit_spheres
from fastem.passes.kinds import Addable, accumulator_for, stats_of
from fastem.passes.statistics import overall
from fastem.sources.blocks import Block, Source
from fastem.sources.parts import PartedSource, reduce_to


def from_random(source: Source, K: int, model: GaussianModel, rng: np.random.RandomState) -> Beginning:
    """Return the statistics of responsibilities that are drawn uniformly and normalised.

    They are drawn in scikit-learn's order, and not for rows of weight 0.
    """
    mean = overall(source, second_moments=False)
    origin, shape = unit_spheres(np.repeat(mean.origin, K, axis=0)), model.moments_shape(K, source.n_features)
    accumulator = accumulator_for(source, origin, shape, RESP)
    # Parts are done in no order, each where it is: what a block draws then depends on its place alone.
    seed = rng.randint(2**32, size=4, dtype=np.uint32) if isinstance(source, PartedSource) else None

    def add(block: Block) -> Addable:
        present = block.weights() > 0
        generator = rng if seed is None else np.random.RandomState([*seed, *divmod(block.start, 2**32)])
        drawn = generator.uniform(size=(np.count_nonzero(present), K))
        resp = np.zeros((len(block.X), K))
        resp[present] = drawn / drawn.sum(axis=1, keepdims=True)
        return accumulator.sums(block._replace(labels=resp))

    most = max(1024, 2**20 // K)  # 8 MiB of uniforms at a time
    return Beginning(reduce_to(source, stats_of, add, most, accumulator.block_rows))
