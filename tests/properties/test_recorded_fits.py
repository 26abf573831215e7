"""Seventy small fits of all kinds give the numbers that were recorded: a change of the code changes no result unawares.

After a change of results that is meant: ``python scripts/recorded_fits.py record tests/properties/recorded_fits.npz``.
"""

from pathlib import Path

import numpy as np
import pytest
import recorded_fits
from numpy.testing import assert_allclose

RECORDED = Path(__file__).parent / "recorded_fits.npz"
FITS = dict(recorded_fits.fits())


@pytest.fixture(scope="module")
def recorded():
    with np.load(RECORDED) as file:
        return dict(file)


def test_every_fit_is_recorded(recorded):
    assert {name.split(": ")[0] for name in recorded} == FITS.keys()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FITS)
def test_numbers(recorded, name):
    """To 1e-12 of the largest number of an array, 1e-5 in fits to float32 rows: the last bits depend on the processor.

    (With AVX-512 the bounds of such fits, which are float64, are 5e-8 from those that were recorded without.)
    """
    to = 1e-5 if "float32" in name else 1e-12
    for what, found in FITS[name]().items():
        want, found = recorded[f"{name}: {what}"], np.asarray(found)
        assert (found.shape, found.dtype) == (want.shape, want.dtype), what
        size = np.abs(want.astype(np.float64)).max(initial=1.0)
        assert_allclose(found, want, rtol=0, atol=to * size, err_msg=what)
