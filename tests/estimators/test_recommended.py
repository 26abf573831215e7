"""`fastem.fit`: what is recommended, and what gives way to it."""

import numpy as np
import pytest
from helpers import CONSTRAINED, STORED, make_mixture

import fastem
from fastem.estimators.recommended import recommended_model
from fastem.fitting.starts import clutter
from fastem.model.remedies.table import RECOMMENDED
from fastem.sources.opening import find_source


@pytest.fixture(scope="module")
def data():
    return make_mixture(400, 2, 3, spacing=4.0)


def test_it_is_gaussian_mixture_with_what_is_recommended(data):
    model = fastem.fit(data.X, 3, "tied", random_state=1)
    options = dict(init_params="auto", solver="auto", regularization=RECOMMENDED, tol=0.1 / 400, max_iter=1000)
    want = fastem.GaussianMixture(3, covariance_type="tied", random_state=1, **options).fit(data.X)
    assert model.get_params() == want.get_params()
    np.testing.assert_array_equal(model.means_, want.means_)
    assert model.fit_report_.starts[0].certificate.gain < 0.1


@pytest.mark.parametrize("letters", CONSTRAINED)
def test_with_mclusts_families(data, letters):
    """Search, acceleration and remedy together; parts of the mixture obey nothing, and are plain."""
    model = fastem.fit(data.X, 3, letters, random_state=1)
    assert model.status_ is fastem.Status.CONVERGED
    assert model.score(data.X) > fastem.GaussianMixture(1).fit(data.X).score(data.X) + 0.15
    for part in (model.marginal([0]), model.condition([1], [0.0])):
        assert part.covariance_type == STORED[letters]


def test_options_and_rows_as_in_fit(data, tmp_path):
    np.save(tmp_path / "x.npy", data.X)
    labels = np.where(np.arange(400) % 9, -1, data.labels)
    seen = []
    model = fastem.fit(
        tmp_path / "x.npy", 3, labels=labels, regularization="map", callback=lambda *step: seen.append(step)
    )
    assert model.regularization == "map"
    assert len(seen) == model.n_iter_
    assert np.mean(model.predict(data.X) == data.labels) > 0.8  # component k is label k


@pytest.mark.parametrize(
    ("given", "solver", "tol"),
    [
        ({}, "auto", 0.1 / 400),
        ({"stop": "aitken"}, "em", 0.1),
        ({"stop": "parameters"}, "em", 1e-3),
        ({"solver": "em"}, "em", 0.1 / 400),
        ({"solver": "lbfgs"}, "lbfgs", 0.1 / 400),
        ({"reg_covar": 1e-3}, "auto", 0.1 / 400),
    ],
)
def test_what_is_recommended_gives_way(data, given, solver, tol):
    model = recommended_model(find_source(data.X), 3, random_state=0, **given)
    assert (model.solver, model.tol) == (solver, tol)
    assert (model.regularization is None) == ("reg_covar" in given or solver == "lbfgs")
    assert model.fit(data.X).status_ is fastem.Status.CONVERGED


def test_weights_that_sum_to_one_are_no_counts(data):
    """The remedy's half row, and the tenth of a nat, are those of as many rows as there are."""
    counts, shares = (fastem.fit(data.X, 3, random_state=0, sample_weight=np.full(400, w)) for w in (1.0, 1 / 400))
    np.testing.assert_allclose(shares.covariances_, counts.covariances_, rtol=1e-6)


def test_a_share_of_noise_that_dies_costs_few_passes():
    rng = np.random.RandomState(0)
    means = rng.normal(0, 1.5, (5, 3))
    X = means[rng.randint(5, size=1000)] + rng.normal(size=(1000, 3))
    model = fastem.fit(X, 5, noise=True, random_state=0)
    assert model.status_ is fastem.Status.CONVERGED
    assert model.fit_report_.starts[0].certificate.passes < 200


def test_a_column_may_be_constant_in_the_sample_that_clutter_is_found_on(monkeypatch):
    monkeypatch.setattr(clutter, "CLUTTER_ROWS", 50)
    rare = np.arange(300) == 150
    X = np.column_stack([np.random.default_rng(0).normal(size=(300, 2)), rare])
    assert fastem.fit(X, 2, noise=True, random_state=0).status_ is fastem.Status.CONVERGED
