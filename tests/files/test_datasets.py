"""The data shipped with the package."""

import numpy as np

from fastem.files import datasets


def test_faithful_is_the_published_data():
    X, names = datasets.load_faithful()
    assert names == ["eruptions", "waiting"]
    assert X.shape == (272, 2)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X[0], [3.6, 79.0])
    np.testing.assert_array_equal(X[-1], [4.467, 74.0])
    # R: colMeans(faithful); sapply(faithful, sd)
    np.testing.assert_allclose(X.mean(axis=0), [3.487783, 70.897059], atol=1e-6)
    np.testing.assert_allclose(X.std(axis=0, ddof=1), [1.141371, 13.594974], atol=1e-6)


def test_every_named_data_set_is_shipped():
    assert all(datasets.data_path(name).is_file() for name in datasets.NAMES)
