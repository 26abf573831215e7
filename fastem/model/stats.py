"""Sufficient statistics of rows under a mixture, and how they travel as one vector."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.model.matrices import EPS, Array
from fastem.model.params import Noise

BUFFER_VERSION = 1
BUFFER_HEADER = 10  # numbers before the body, see Stats.to_buffer
MAX_COPIES = 2**12  # buffers that may be summed


@dataclass(frozen=True)
class Stats:
    """Sufficient statistics of rows under a mixture. They add up, so that blocks, files and machines can be summed.

    Attributes
    ----------
    loglik : float
        sum_n w_n log p(x_n). Where labels restrict the components of a row, p is the sum over these alone. NaN if the
        responsibilities were given; equal to `class_loglik` if each row was given to one component
    class_loglik : float
        sum_n w_n max_k log(weight_k p_k(x_n)); NaN if the responsibilities were given
    entropy : float
        the entropy of the responsibilities, -sum_n w_n sum_k r_nk log r_nk; NaN if these were given
    s0 : (K,) float64
        sum_n w_n r_nk
    s1 : (K, D) float64
        sum_n w_n r_nk (x_n - origin_k)
    s2 : (K|1, D|1, D|1) float64
        second moments about the origins, in the shape of the covariances that are made of them
    origin : (K, D) float64
        the points that s1 and s2 are about: the means of the pass
    n_rows : int
        the number of rows of positive weight
    noise : Noise or None
        the box of a noise component and the weight of its rows; None if there is no such component
    eps : float
        the relative rounding of the arithmetic within a tile of rows: that of float64, or of float32 where a pass over
        float32 rows could work in float32

    See Also
    --------
    accumulate : makes the statistics of rows under a mixture.
    moments : makes the statistics of rows whose components are known.
    m_step : makes a mixture of statistics.

    Examples
    --------
    >>> import fastem
    >>> stats = fastem.moments([[0.0], [2.0], [4.0]], labels=[0, 0, 1])
    >>> stats.s0, (stats.origin + stats.s1 / stats.s0[:, None]).ravel()
    (array([2., 1.]), array([1., 4.]))
    """

    loglik: float
    class_loglik: float
    entropy: float
    s0: Array
    s1: Array
    s2: Array
    origin: Array
    n_rows: int
    noise: Noise | None = None
    eps: float = EPS

    @property
    def sum_w(self) -> float:
        """The sum of the rows' weights; without weights, their number."""
        return float(self.s0.sum()) + (self.noise.weight if self.noise else 0.0)

    def __add__(self, other: object) -> Stats:
        if not isinstance(other, Stats):
            return NotImplemented
        if self.s2.shape != other.s2.shape:
            raise ValueError(f"statistics for covariances of shapes {self.s2.shape} and {other.s2.shape} do not add")
        if not np.array_equal(self.origin, other.origin):
            raise ValueError(
                "statistics about different origins cannot be added: move one of them with stats.shifted(other.origin)"
            )
        mine, others = self.noise, other.noise
        if (mine is None) != (others is None) or (mine and others and not np.array_equal(mine.box, others.box)):
            raise ValueError("statistics of mixtures with another noise component, or one and none, do not add")
        return Stats(
            self.loglik + other.loglik,
            self.class_loglik + other.class_loglik,
            self.entropy + other.entropy,
            self.s0 + other.s0,
            self.s1 + other.s1,
            self.s2 + other.s2,
            self.origin,
            self.n_rows + other.n_rows,
            mine and others and mine._replace(weight=mine.weight + others.weight),
            max(self.eps, other.eps),
        )

    def __radd__(self, other: object) -> Stats:
        return self if other == 0 else NotImplemented  # sum() starts from 0

    def scaled(self, by: float) -> Stats:
        """Return the statistics of the same rows with weights that are `by` times as large."""
        return replace(
            self,
            loglik=by * self.loglik,
            class_loglik=by * self.class_loglik,
            entropy=by * self.entropy,
            s0=by * self.s0,
            s1=by * self.s1,
            s2=by * self.s2,
            noise=self.noise and self.noise._replace(weight=by * self.noise.weight),
        )

    def shifted(self, origin: Array) -> Stats:
        """Return the same statistics about another `origin`, (K, D).

        Raises
        ------
        ValueError
            if `origin` has another shape
        """
        if np.shape(origin) != self.origin.shape:
            raise ValueError(f"origin must have shape {self.origin.shape}; got {np.shape(origin)}")
        step = self.origin - origin
        mass = self.s0[..., None]
        s1 = self.s1 + mass * step
        s2 = self.s2 + outer(self.s1, step, self.s2.shape) + outer(step, s1, self.s2.shape)
        return replace(self, s1=s1, s2=s2, origin=np.asarray(origin))

    def to_buffer(self) -> Array:
        """Return these statistics as one vector, for messages between processes and for files.

        Vectors that were made under the same parameters may be added, number by number and in any order, up to 4,096
        of them: `from_buffer` of the sum is the sum of the statistics. So one ``comm.Allreduce(stats.to_buffer(),
        total)`` combines the ranks of MPI. (Its order of summation, and so the last bits, are MPI's: where bits count,
        gather the vectors and add them in the order of ranks.)

        Returns
        -------
        (P,) float64
            The vector has three parts. The first has ten numbers that tell what it is: 1 (in a sum the number of
            vectors added; the other nine are then sums of equal numbers too), the version 1, a checksum of all that
            must be equal in a sum, the square of the checksum, K, D, the three lengths of the shape of s2, and whether
            there is a noise component. The second has what adds up: n_rows, loglik, class_loglik, entropy, the weight
            of noise, s0, s1, s2. The third has what must be equal, the box of noise if there is one and the origin, as
            two vectors whose sums are exact. P = 15 + K + 3 K D + s2.size, and 4 D more with noise

        Examples
        --------
        >>> import numpy as np, fastem
        >>> params = fastem.make_params([1.0], [[0.0]], [[[1.0]]])
        >>> a, b = (fastem.accumulate([[x]], params) for x in (1.0, 2.0))
        >>> fastem.Stats.from_buffer(a.to_buffer() + b.to_buffer()).s2 == (a + b).s2
        array([[[ True]]])
        """
        box = np.empty(0) if self.noise is None else self.noise.box
        equal = np.concatenate([np.ravel(box), self.origin.ravel()])
        high = _leading_bits(equal)
        head = [*self.origin.shape, *self.s2.shape, self.noise is not None]
        check = _checksum(head, equal)
        scalars = self.n_rows, self.loglik, self.class_loglik, self.entropy, self.noise.weight if self.noise else 0.0
        sums = (array.ravel() for array in (self.s0, self.s1, self.s2))
        return np.concatenate([[1, BUFFER_VERSION, check, check**2, *head], scalars, *sums, high, equal - high])

    @staticmethod
    def from_buffer(buffer: ArrayLike) -> Stats:
        """Return the statistics of a vector that `to_buffer` made, or of a sum of such vectors.

        Parameters
        ----------
        buffer : (P,) array-like of float64

        Returns
        -------
        Stats

        Raises
        ------
        ValueError
            if it is no such vector, has another version, or is a sum of statistics that do not add, for instance
            because they are about different origins

        Examples
        --------
        >>> import fastem
        >>> stats = fastem.moments([[0.0], [2.0], [4.0]], labels=[0, 0, 1])
        >>> fastem.Stats.from_buffer(2 * stats.to_buffer()).s0
        array([4., 2.])
        """
        vector = np.asarray(buffer, dtype=np.float64)
        header = vector[:BUFFER_HEADER]
        sound = vector.ndim == 1 and len(header) == BUFFER_HEADER and np.isfinite(header).all()
        if not sound or not 1 <= header[0] <= MAX_COPIES:
            raise ValueError(
                f"not a buffer of statistics, nor a sum of at most {MAX_COPIES}: expected a vector that "
                f"Stats.to_buffer makes, got one of shape {vector.shape}"
            )
        copies = header[0]
        version, check, square, *rest = header[1:] / copies
        if version != BUFFER_VERSION:
            raise ValueError(f"buffer of statistics of version {version:g}, expected {BUFFER_VERSION}")
        if square != check**2:
            raise ValueError("buffers of statistics that do not add were added: about different origins, for instance")
        head = K, D, *shape, has_noise = [int(number) for number in rest]
        n_equal = 2 * D * has_noise + K * D
        sizes = [BUFFER_HEADER, 5, K, K * D, math.prod(shape), n_equal, n_equal]
        if len(vector) != sum(sizes):
            raise ValueError(f"damaged buffer of statistics: expected {sum(sizes)} numbers, got {len(vector)}")
        _, scalars, s0, s1, s2, high, low = (part.copy() for part in np.split(vector, np.cumsum(sizes)[:-1]))
        equal = high / copies + low / copies
        if check != _checksum(head, equal):
            raise ValueError("damaged buffer of statistics: the checksum is wrong")
        n_rows, loglik, class_loglik, entropy, noise = scalars.tolist()
        box, origin = np.split(equal, [n_equal - K * D])
        return Stats(
            loglik,
            class_loglik,
            entropy,
            s0,
            s1.reshape(K, D),
            s2.reshape(shape),
            origin.reshape(K, D),
            int(n_rows),
            Noise(noise, box.reshape(2, D)) if has_noise else None,
        )


def component_mass(stats: Stats) -> Array:
    """Return N_k, the weight of each component's rows, as scikit-learn has it: never 0; (..., K)."""
    return np.asarray(stats.s0 + _added_mass(stats))


def are_empty(stats: Stats) -> NDArray[np.bool_]:
    """Return which components have no rows, (..., K): a weight of no more than what `component_mass` adds."""
    return np.asarray(stats.s0 <= _added_mass(stats))


def _added_mass(stats: Stats) -> Array:
    """Return what scikit-learn adds to s0 against division by 0: 10 eps, times the rows' mean weight; (..., 1)."""
    return np.asarray(10 * EPS * stats.s0.sum(axis=-1, keepdims=True) / np.maximum(stats.n_rows, 1.0)[..., None])


def _leading_bits(x: Array) -> Array:
    """Return the leading 26 bits of each number: sums of equal ones, and of the equal rests, are exact."""
    mantissa, exponent = np.frexp(x)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, 26)), exponent - 26))


def _checksum(head: Sequence[int], equal: Array) -> int:
    """Return 20 bits, whose square can be summed exactly as well. (Adding 0 makes 0.0 of -0.0, as a sum does.)"""
    return zlib.crc32(np.array([*head, *(equal + 0.0)]).tobytes()) >> 12


def outer(u: Array, v: Array, shape: tuple[int, ...]) -> Array:
    """Return the products u v' of each component, for u and v (..., K, D), reduced to a canonical shape.

    The shape says whether they become matrices, diagonals or traces, and whether those of all components are summed.
    """
    if shape[-2] > 1:
        product = u[..., :, None] * v[..., None, :]
    elif shape[-1] > 1:
        product = (u * v)[..., None, :]
    else:
        product = (u * v).sum(axis=-1)[..., None, None]
    return product.sum(axis=-3, keepdims=True) if shape[-3] == 1 else product
