"""The fits of mclust (R, Fortran) on real data, step by step and at the end; see golden/README.md."""

import json

import numpy as np
import pytest
from helpers import CONSTRAINED, GOLDEN, Fitted, assert_close, from_params, natural

import fastem
from fastem.fitting.models import model_for
from fastem.model.families import COVARIANCES
from fastem.model.remedies.table import RECOMMENDED
from fastem.sources.blocks import ArraySource

FAMILY = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}
FAMILY |= {"EEI": "tied_diag", "EII": "tied_spherical"}
FAMILY |= {name: name for name in CONSTRAINED}
ITERATING = ("VEI", "VEV", "VEE", "EVE", "VVE")  # whose M-steps end where mclust's own inner iterations do not
STEPS = 12


def _entries():
    for name in ("faithful", "iris", "diabetes"):
        yield from json.loads((GOLDEN / "fits" / f"{name}.json").read_text())


def _ids(entry):
    return f"{entry['dataset']}-{FAMILY[entry['model']]}-{entry['G']}"


ENTRIES = list(_entries())
FITTED = [e for e in ENTRIES if "loglik" in e]
CLOSED = [e for e in FITTED if e["model"] not in ITERATING]
SINGULAR = [e for e in ENTRIES if e["warning"] == "singular covariance"]
COLLAPSING = [e for e in ENTRIES if e["warning"] == "mixing proportion fell below threshold"]


def _load(entry):
    X = np.loadtxt(GOLDEN / "data" / f"{entry['dataset']}.csv", delimiter=",", skiprows=1)
    labels = np.loadtxt(GOLDEN / entry["init"], skiprows=1, dtype=int) - 1
    return X, labels


def _start(entry):
    X, labels = _load(entry)
    family = FAMILY[entry["model"]]
    stats = fastem.moments(X, labels=labels, n_components=entry["G"], covariance_type=family)
    return X, family, fastem.m_step(stats, family, reg_covar=0.0)


def test_everything_is_here():
    assert (len(FITTED), len(CLOSED), len(SINGULAR), len(COLLAPSING)) == (158, 133, 2, 1)
    assert {(e["dataset"], e["model"]) for e in FITTED} == {
        (d, m) for d in ("faithful", "iris", "diabetes") for m in FAMILY
    }


def test_parameters_are_counted_as_there():
    for e in FITTED:
        family, (k, d) = COVARIANCES[FAMILY[e["model"]]], (e["G"], np.shape(e["mean"])[1])
        assert family.n_parameters(k, d) + k * d + k - 1 == e["n_params"]


@pytest.mark.parametrize("entry", CLOSED, ids=_ids)
def test_step_by_step(entry):
    """mclust's log-likelihood after i steps is that of i pairs of M-step and E-step."""
    X, family, params = _start(entry)
    result = fastem.em(X, params, covariance_type=family, reg_covar=0.0, tol=0.0, max_iter=STEPS)
    # mclust stops on its own where nothing changes any more, its later steps then repeat the last one
    np.testing.assert_allclose(np.array(result.history) * len(X), entry["loglik_after_step"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("entry", CLOSED, ids=_ids)
def test_converged(entry):
    """After as many steps as mclust took: its log-likelihood to 1e-6 and its parameters to 1e-6 of their scale."""
    X, family, params = _start(entry)
    n = entry["iterations"]
    result = fastem.em(X, params, covariance_type=family, reg_covar=0.0, tol=0.0, max_iter=n)
    assert result.n_iter == n
    assert result.loglik == pytest.approx(entry["loglik"], rel=0, abs=1e-6)
    want = Fitted(*(np.array(entry[key], float) for key in ("pro", "mean", "sigma")))
    assert_close(from_params(result.params), want, 1e-6)


@pytest.mark.parametrize("entry", [e for e in FITTED if e["model"] in ITERATING], ids=_ids)
def test_where_m_steps_iterate(entry):
    """At the end not below mclust, whose VVE ends before its inner optimum: by up to 3 nats."""
    X, family, params = _start(entry)
    result = fastem.em(X, params, covariance_type=family, reg_covar=0.0, tol=1e-13, max_iter=5000)
    assert result.status is fastem.Status.CONVERGED
    assert not result.events
    gain = result.loglik - entry["loglik"]
    assert gain > -1e-6
    if entry["model"] == "VVE":
        assert gain < 4
    else:
        assert gain < 1e-6
        want = Fitted(*(np.array(entry[key], float) for key in ("pro", "mean", "sigma")))
        assert_close(from_params(result.params), want, 1e-4)


@pytest.mark.parametrize("entry", [e for e in CLOSED if e["G"] == 3], ids=_ids)
def test_estimator_reaches_it(entry):
    """The class, from the parameters of the same labels: log-likelihood, BIC and AIC."""
    X, family, params = _start(entry)
    model = fastem.GaussianMixture.from_parameters(
        params.weights, params.means, _natural(params, family), covariance_type=family
    )
    model.set_params(
        weights_init=model.weights_, means_init=model.means_, precisions_init=model.precisions_,
        tol=1e-14, reg_covar=0.0, max_iter=20_000,
    )  # fmt: skip
    model.fit(X)
    n, p = len(X), entry["n_params"]
    assert model.converged_
    assert model.score(X) * n == pytest.approx(entry["loglik"], rel=0, abs=1e-6)
    assert model.bic(X) == pytest.approx(entry["bic_sklearn"], rel=0, abs=2e-6)
    assert model.aic(X) == pytest.approx(-2 * entry["loglik"] + 2 * p, rel=0, abs=2e-6)


def _sizeable(entry):
    """Whether every component has the rows that a covariance of full rank needs."""
    X, _ = _load(entry)
    return min(entry["pro"]) * len(X) >= X.shape[1] + 1


@pytest.mark.slow
@pytest.mark.parametrize("entry", [e for e in CLOSED if e["G"] <= 4 and _sizeable(e)], ids=_ids)
def test_the_recommended_fit_is_as_good(entry):
    """Without a start, the MAP objective of mclust's parameters at least.

    (Without a remedy spikes on a few rows have a larger likelihood than mclust's: that is no success.)
    """
    X, family, _ = _start(entry)
    sigma = np.array(entry["sigma"], float)
    params = fastem.make_params(entry["pro"], entry["mean"], natural(sigma, family, entry["pro"]), family)
    m_step = model_for(ArraySource(X), family, fastem.InverseWishart())
    model = fastem.GaussianMixture(
        entry["G"], covariance_type=family, init_params="auto", regularization="map", n_init=1, random_state=0,
        tol=1e-9, max_iter=5000,
    ).fit(X)  # fmt: skip
    assert model.lower_bound_ >= m_step.objective(params, fastem.accumulate(X, params)) - 1e-9


def _natural(params, family):
    k, d = params.means.shape
    return params.covariances.reshape(COVARIANCES[family].natural_shape(k, d))


@pytest.mark.parametrize("entry", SINGULAR, ids=_ids)
def test_singular_start_is_refused(entry):
    """Three points in three dimensions: mclust refused, and so do we, naming the component."""
    with pytest.raises(ValueError, match=r"ill-defined empirical covariance[\s\S]*component"):
        _start(entry)


@pytest.mark.parametrize("entry", COLLAPSING, ids=_ids)
def test_collapse_on_the_way(entry):
    """A sound start that ends on rows of one waiting time, where mclust gave up: the last sound parameters."""
    X, family, params = _start(entry)
    result = fastem.em(X, params, covariance_type=family, reg_covar=0.0, tol=0.0, max_iter=5000)
    assert result.status is fastem.Status.DEGENERATE
    assert all(np.isfinite(values).all() for values in result.params[:4])
    assert (result.params.covariances > 0).all()
    assert result.loglik == pytest.approx(fastem.log_density(X, result.params).sum(), rel=1e-12)
    assert np.diff(result.history).min() > -1e-12


@pytest.mark.parametrize("entry", [*SINGULAR, *COLLAPSING], ids=_ids)
def test_what_mclust_refused_is_bounded_by_what_is_recommended(entry):
    """The same starts under the recommended remedy converge, and no iteration falls."""
    X, labels = _load(entry)
    family, settings = FAMILY[entry["model"]], {"regularization": RECOMMENDED}
    stats = fastem.moments(X, labels=labels, n_components=entry["G"], covariance_type=family)
    start = fastem.m_step(stats, family, **settings)
    result = fastem.em(X, start, covariance_type=family, tol=1e-6, max_iter=5000, **settings)
    assert result.status is fastem.Status.CONVERGED
    assert all(np.isfinite(values).all() for values in result.params[:4])
    assert not any(event.what == "fell" for event in result.events)
