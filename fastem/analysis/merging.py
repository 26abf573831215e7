"""Clusters of more than one component: merging by entropy (Baudry et al. 2010)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.model.matrices import TINY, Array
from fastem.model.params import Params
from fastem.passes.kinds import scorer_for
from fastem.passes.scorer import Scores
from fastem.sources.blocks import Block, Source, rows_at_once
from fastem.sources.parts import local_rows


@dataclass(frozen=True, eq=False)
class Merging:
    """A hierarchy of clusters, from the K components of a mixture down to one, as `GaussianMixture.merge` makes it.

    Attributes
    ----------
    model : GaussianMixture
        a copy of the model whose components are merged
    entropies : (K,) float64
        entropies[g - 1] is the entropy of the assignment of all rows to g clusters, in nats. It falls with every
        merge: much while the components that are joined overlap, little afterwards. The paper proposes the number of
        clusters at the elbow of its plot against g
    pairs : (K - 1, 2) int64
        the clusters that are joined, merge by merge. The name of a cluster is the index of its first component, and
        the second cluster of a pair joins the first

    See Also
    --------
    GaussianMixture.merge : makes it.
    select : chooses a number of components.

    References
    ----------
    Baudry, Raftery, Celeux, Lo & Gottardo (2010), Combining mixture components for clustering, J. Comput. Graph. Stat.
    19, 332-353.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.GaussianMixture.from_parameters([0.4, 0.3, 0.3], [[0.0], [1.0], [30.0]], [[[1.0]]] * 3)
    >>> merging = model.merge([[-1.0], [0.5], [2.0], [29.0], [31.0]])
    >>> merging.pairs[0], merging.clusters(2)
    (array([0, 1]), array([0, 0, 1]))
    """

    model: Any
    entropies: Array
    pairs: NDArray[np.int64]

    def clusters(self, n_clusters: int) -> NDArray[np.int64]:
        """Return the cluster of each component, (K,) int64: 0 to n_clusters - 1, in the order of first components.

        Raises
        ------
        ValueError
            if n_clusters is not an int in [1, K]
        """
        K = len(self.entropies)
        if not isinstance(n_clusters, (int, np.integer)) or isinstance(n_clusters, bool) or not 1 <= n_clusters <= K:
            raise ValueError(f"n_clusters must be an int in [1, {K}]; got {n_clusters!r}")
        first = np.arange(K)
        for kept, joined in self.pairs[: K - n_clusters]:
            first[first == joined] = kept
        return np.unique(first, return_inverse=True)[1].astype(np.int64)

    def predict_proba(self, X: Any, n_clusters: int) -> NDArray[Any]:
        """Return the probabilities of the clusters for each row of X (N, D): sums over their components.

        Returns
        -------
        (N, n_clusters) float64 or float32
            with noise there is one column more, the last

        Raises
        ------
        ValueError
            if n_clusters is not an int in [1, K], or X cannot be used
        """
        clusters, resp = self.clusters(n_clusters), self.model.predict_proba(X)
        if resp.shape[1] > len(clusters):
            clusters = np.append(clusters, n_clusters)
        return np.asarray(resp @ (clusters[:, None] == np.arange(clusters.max() + 1)).astype(resp.dtype))

    def predict(self, X: Any, n_clusters: int) -> NDArray[np.int64]:
        """Return the most probable cluster of each row of X (N, D): (N,) int64, -1 for noise.

        This need not be the cluster of the row's most probable component: others may be more probable together.

        Raises
        ------
        ValueError
            if n_clusters is not an int in [1, K], or X cannot be used
        """
        label = self.predict_proba(X, n_clusters).argmax(axis=1)
        return np.where(label == n_clusters, -1, label)


def merge_by_entropy(source: Source, params: Params) -> tuple[Array, NDArray[np.int64]]:
    """Return the entropies and pairs of a `Merging`: the two clusters join whose union lowers the entropy most.

    One pass over the rows finds how much each pair of components would lower it. After a merge one more pass finds the
    same for the pairs with the new cluster. Noise counts in the entropy, but does not merge.
    """
    K = len(params.means)
    first = np.arange(params.n_columns)  # the first component of each component's cluster
    everything = [(a, b) for a in range(K) for b in range(a)]
    entropy, falls = entropy_and_falls(source, params, first, everything)
    gains = np.full((K, K), -np.inf)
    gains[tuple(np.array(everything, dtype=np.intp).reshape(-1, 2).T)] = falls
    entropies, pairs = [entropy], []
    for _ in range(K - 1):
        joined, kept = map(int, np.unravel_index(gains.argmax(), gains.shape))
        pairs.append((kept, joined))
        first[first == joined] = kept
        gains[joined], gains[:, joined] = -np.inf, -np.inf
        others = [(max(kept, k), min(kept, k)) for k in np.unique(first[:K]).tolist() if k != kept]
        entropy, falls = entropy_and_falls(source, params, first, others)
        gains[tuple(np.array(others, dtype=np.intp).reshape(-1, 2).T)] = falls
        entropies.append(entropy)
    return np.array(entropies[::-1]), np.array(pairs, dtype=np.int64).reshape(-1, 2)


def entropy_and_falls(
    source: Source, params: Params, first: NDArray[np.intp], pairs: list[tuple[int, int]]
) -> tuple[float, Array]:
    """Return the entropy of the clusters, and how much it would fall if the clusters of each pair were joined.

    `first` (K,) has the first component of each component's cluster. The entropy is -sum_n w_n sum_g t_ng log t_ng; its
    fall is the criterion of Baudry et al. (2010), section 3. One pass computes both.
    """
    K = len(first)
    scorer = scorer_for(source, params)

    def add(block: Block) -> Array:
        present = block.present()
        scores, weight = Scores.empty(len(present.X), K, resp=True), present.weights()
        scorer.fill(present, scores)
        t = np.zeros((K, len(present.X)))
        for k, cluster in enumerate(first):
            t[cluster] += scores.resp[:, k]
        own = _sums(_entropies(t), weight)
        joined = (_sums(_entropies(t[a] + t[b]), weight) for a, b in pairs)
        return np.array([own.sum(), *(own[a] + own[b] - both for (a, b), both in zip(pairs, joined, strict=True))])

    entropy, *falls = source.reduce(add, rows_at_once(max(K, source.n_features)))
    return float(entropy), np.array(falls)


def row_entropy(source: Source, params: Params) -> Array:
    """Return the entropy of each row's responsibilities, (N,)."""
    source, K = local_rows(source), params.n_columns
    scorer, out = scorer_for(source, params), np.empty(source.n_rows)

    def add(block: Block) -> None:
        scores = Scores.empty(len(block.X), K, resp=True)
        scorer.fill(block, scores)
        out[block.start : block.start + len(block.X)] = _entropies(scores.resp).sum(axis=1)

    source.for_each(add, rows_at_once(max(K, source.n_features)), scorer.block_rows)
    return out


def _sums(values: Array, weight: Array) -> Array:
    """Return weighted sums over the last axis. (For a vector BLAS would call its threads, which takes longer.)"""
    return np.asarray(np.einsum("...n,n->...", values, weight))


def _entropies(t: Array) -> Array:
    """Return -t log t, which is 0 where t is 0."""
    return np.asarray(-t * np.log(np.maximum(t, TINY)))
