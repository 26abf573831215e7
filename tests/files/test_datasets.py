"""The data shipped with the package."""

import shutil
from pathlib import Path

import numpy as np
from helpers import run_child

import fastem
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


def test_from_a_zip_archive(tmp_path):
    """Packages may be imported from one, and their data are then no files; nothing is left behind."""
    package = Path(fastem.__file__).parent
    shutil.copytree(package, tmp_path / "site" / "fastem", ignore=shutil.ignore_patterns("__pycache__"))
    archive = shutil.make_archive(str(tmp_path / "fastem"), "zip", tmp_path / "site")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = """
    import json, sys
    sys.path.insert(0, sys.argv[1])
    import fastem
    X, names = fastem.load_faithful()
    print(json.dumps([fastem.__file__, X.shape, names, str(fastem.files.datasets.data_path("faithful").parent)]))
    """
    file, shape, names, folder = run_child(code, archive, TMPDIR=str(temporary))
    assert file.startswith(archive)
    assert (shape, names) == ([272, 2], ["eruptions", "waiting"])
    assert folder == str(temporary)
    assert not list(temporary.iterdir())
