"""Labels: what is known of the component of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.model.checks import given_components, real_numbers, refuse_masked
from fastem.model.exclusions import check_exclusions
from fastem.model.matrices import Array
from fastem.sources.blocks import Source

# --- labels -------------------------------------------------------------------------------------------------------


def is_labelled(source: Source) -> bool:
    """Tell whether the blocks of a source have labels; without an attribute `labelled` they have none."""
    return bool(getattr(source, "labelled", False))


def certain_labels(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the component of each row that may belong to one component only, else -1, (n,); labels as in a Block."""
    if labels.ndim == 1:
        return labels
    return np.where(np.count_nonzero(labels, axis=1) == 1, labels.argmax(axis=1), -1)


def check_range(labels: NDArray[Any], K: int, first: int) -> None:
    """Refuse labels, as in a Block, of other components than 0 to K - 1; `first` is the index of the first row.

    Each pass calls this for each block: with such labels a kernel would write beyond its arrays.
    """
    if labels.ndim == 2:
        if labels.shape[1] != K:
            raise ValueError(f"labels with {labels.shape[1]} columns, for {K} components")
        return
    outside = labels >= K
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"labels must lie in -1..{K - 1}, for {K} components; found {labels[row]} in row {first + row}"
        )


def check_labels(labels: Any, n_rows: int) -> NDArray[Any] | None:
    """Check labels and return them as (N,) int64 or (N, K) bool; return None for None: all are unknown."""
    if labels is None:
        return None
    refuse_masked("labels", labels)
    try:
        array = np.asarray(labels)
    except ValueError:
        raise ValueError(
            f"labels must be {n_rows} integers, one per row, or booleans of shape ({n_rows}, K); got rows of unequal "
            "lengths"
        ) from None
    check_label_kind(array.shape, array.dtype, n_rows)
    check_label_values(array, 0)
    return array if array.ndim == 2 else array.astype(np.int64, copy=False)


def check_label_kind(shape: tuple[int, ...], dtype: Any, n_rows: int) -> None:
    """Raise a ValueError unless labels are numbers of shape (N,) or booleans of shape (N, K)."""
    kinds = {1: "iuf", 2: "b"}.get(len(shape), "")
    if not shape or shape[0] != n_rows or np.dtype(dtype).kind not in kinds:
        raise ValueError(
            f"labels must be {n_rows} integers, one per row, or booleans of shape ({n_rows}, K); got shape "
            f"{tuple(shape)}, dtype {dtype}"
        )


def check_label_values(labels: NDArray[Any], first: int) -> None:
    """Refuse labels that are no integers or below -1, and rows that may belong to no component.

    `first` is the index of the first row.
    """
    if labels.ndim == 2:
        sound, what = labels.any(axis=1), "may belong to no component"
    else:
        sound = (labels >= -1) & (labels < 2**53) & (labels == np.floor(labels))
        what = "has label {}, expected an integer from 0 on, or -1 for unknown"
    if not sound.all():
        row = int(np.argmin(sound))
        raise ValueError(f"labels: row {first + row} {what.format(labels[row])}")


def check_kept(source: Source, on_collapse: str) -> None:
    """Raise a ValueError if components that labels name would be given other numbers."""
    check_exclusions(on_collapse=on_collapse, labels=True if is_labelled(source) else None)


def check_all_labels(labels: Any, n_rows: int, n_components: int | None) -> tuple[NDArray[Any], int]:
    """Check labels that are all known; return them as (N,) int64, and K.

    None for `n_components` means one more than the largest label.
    """
    array = check_labels(labels, n_rows)
    if array is None or array.ndim == 2:
        raise ValueError(f"labels must be {n_rows} integers, one per row; got shape {np.shape(labels)}")
    K = given_components(n_components) or int(array.max()) + 1
    if n_components is None and n_rows < K:  # identifiers rather than 0, 1, ...: memory for K components may not exist
        raise ValueError(f"labels go up to {K - 1} for {n_rows} rows: pass n_components={K} if that is meant")
    if array.min() < 0 or array.max() >= K:
        raise ValueError(f"labels must lie in 0..{K - 1}; got {array.min()}..{array.max()}")
    return array.astype(np.int64, copy=False), K


def check_resp(resp: Any, n_rows: int, n_components: int | None, name: str = "resp") -> tuple[NDArray[Any], int]:
    """Check responsibilities; return them as (N, K) float64, and K. None for `n_components` allows any K."""
    array, K = real_numbers(name, resp), given_components(n_components)
    if array.ndim != 2 or len(array) != n_rows or array.shape[1] != (K or max(array.shape[1], 1)):
        raise ValueError(f"{name} must have shape ({n_rows}, {K or 'K'}); got {array.shape}")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"{name} must be finite and not negative")
    return array, array.shape[1]


def check_distributions(q: Any, n_rows: int, K: int) -> Array:
    """Check distributions over components; return them as (N, K) float64 whose rows sum to 1 to the last digit."""
    array, _ = check_resp(q, n_rows, K, name="q")
    sums = array.sum(axis=1, keepdims=True)
    if (off := np.abs(sums - 1) > 1e-5).any():  # the sums of float32 are that far off for many components
        row = int(np.argmax(off))
        raise ValueError(f"q must hold distributions: row {row} sums to {float(sums[row, 0]):.7g}, not 1")
    return np.asarray(array / sums)
