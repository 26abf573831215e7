"""Pictures: what is drawn, not how it looks."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import child_env

import fastem
from fastem.plot import plot_fit, plot_history, plot_points, plot_selection
from fastem.plot.style import require_matplotlib

pytest.importorskip("matplotlib")

COVARIANCES = {
    "full": np.array([[[1.0, 0.6], [0.6, 4.0]], [[2.0, -0.5], [-0.5, 1.0]]]),
    "tied": np.array([[1.0, 0.6], [0.6, 4.0]]),
    "diag": np.array([[1.0, 4.0], [9.0, 0.25]]),
    "spherical": np.array([4.0, 0.25]),
}
FULL = {  # the same as K matrices
    "full": COVARIANCES["full"],
    "tied": np.stack([COVARIANCES["tied"]] * 2),
    "diag": np.array([np.diag([1.0, 4.0]), np.diag([9.0, 0.25])]),
    "spherical": np.array([4.0 * np.eye(2), 0.25 * np.eye(2)]),
}


def mixture(covariance_type="full"):
    return fastem.GaussianMixture.from_parameters(
        [0.3, 0.7], [[0.0, 0.0], [5.0, 10.0]], COVARIANCES[covariance_type], covariance_type
    )


def many(K, D, seed=0):
    """Return a mixture of K components in D features, and data."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0.0, 10.0, size=(K, D))
    X = means[rng.integers(K, size=500)] + rng.normal(size=(500, D))
    return fastem.GaussianMixture.from_parameters(np.full(K, 1 / K), means, np.ones(K), "spherical"), X


@pytest.fixture
def X():
    return np.random.default_rng(1).normal([2.0, 4.0], [3.0, 6.0], size=(200, 2))


def ellipses(axes):
    from matplotlib.patches import Ellipse

    return [patch for patch in axes.patches if isinstance(patch, Ellipse)]


def area(line):
    x, y = line.get_data()
    return np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_ellipses_lie_at_one_and_two_standard_deviations(X, covariance):
    (axes,) = plot_fit(mixture(covariance), X).axes
    found = ellipses(axes)
    assert len(found) == 4
    for k in range(2):
        for sigmas, ellipse in zip((1, 2), found[2 * k : 2 * k + 2], strict=True):
            np.testing.assert_allclose(ellipse.center, [[0.0, 0.0], [5.0, 10.0]][k])
            outline = ellipse.get_patch_transform().transform(ellipse.get_path().vertices) - ellipse.center
            distance = np.sqrt(np.einsum("ni,ij,nj->n", outline, np.linalg.inv(FULL[covariance][k]), outline))
            # Bézier control points lie outside the curve; those on it are the nearest.
            np.testing.assert_allclose(distance.min(), sigmas, rtol=1e-3)


def test_points_have_the_colours_of_predict(X):
    model = mixture()
    (axes,) = plot_fit(model, X).axes
    scatter = axes.collections[0]
    np.testing.assert_array_equal(scatter.get_offsets(), X)
    colors = scatter.get_facecolor()[:, :3]
    for k in range(2):
        assert len(np.unique(colors[model.predict(X) == k], axis=0)) == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x0", "x1")


def test_one_feature_shows_densities_that_integrate_to_the_weights():
    model = fastem.GaussianMixture.from_parameters([0.2, 0.8], [[0.0], [50.0]], [1.0, 1e-4], "spherical")
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=100), rng.normal(50.0, 0.01, size=400)])[:, np.newaxis]
    (axes,) = plot_fit(model, X).axes
    total, *components = [area(line) for line in axes.lines]
    np.testing.assert_allclose(total, 1.0, atol=0.01)
    np.testing.assert_allclose(components, [0.2, 0.8], atol=0.01)  # the narrow one is not missed
    np.testing.assert_allclose(axes.lines[0].get_ydata(), sum(line.get_ydata() for line in axes.lines[1:]))


def test_pair_plot_is_a_lower_triangle():
    model, X = many(3, 3)
    figure = plot_fit(model, X, feature_names=["a", "b", "c"])
    axes = np.array(figure.axes).reshape(3, 3)
    for i in range(3):
        for j in range(3):
            assert axes[i, j].axison == (j <= i)
            assert len(ellipses(axes[i, j])) == (6 if j < i else 0)
    assert [ax.get_xlabel() for ax in axes[2]] == ["a", "b", "c"]
    np.testing.assert_array_equal(axes[2, 1].collections[0].get_offsets(), X[:, [1, 2]])


def test_the_features_that_separate_components_most_are_chosen():
    means = np.zeros((2, 6))
    means[1] = [0.1, 9.0, 0.2, 8.0, 7.0, 6.0]
    variances = np.ones((2, 6))
    variances[:, 1] = 1e4  # far apart, but wide
    model = fastem.GaussianMixture.from_parameters([0.5, 0.5], means, variances, "diag")
    X = np.random.default_rng(0).normal(size=(50, 6))
    figure = plot_fit(model, X)
    assert [ax.get_xlabel() for ax in figure.axes[-4:]] == ["x2", "x3", "x4", "x5"]


def test_features_by_name_and_position():
    model, X = many(3, 5)
    names = list("abcde")
    (axes,) = plot_fit(model, X, features=["d", 1], feature_names=names).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("d", "b")
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), X[:, [3, 1]])
    for wrong in ("z", 5, -1):
        with pytest.raises(ValueError, match="features should be among a, b, c, d, e or 0 to 4, but got"):
            plot_fit(model, X, features=[wrong], feature_names=names)
    with pytest.raises(ValueError, match="at least one feature"):
        plot_fit(model, X, features=[])
    with pytest.raises(ValueError, match="should have 5 names, one for each feature, but got 1"):
        plot_fit(model, X, feature_names=["a"])


def test_of_many_rows_evenly_spaced_ones_are_drawn_and_labelled():
    model, X = many(2, 2)
    X = np.tile(X, (10, 1))
    asked = []
    model.predict = lambda rows: asked.append(len(rows)) or np.zeros(len(rows), dtype=int)
    (axes,) = plot_fit(model, X, max_points=100).axes
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), X[::50])
    assert asked == [100]


def test_weights_count_in_the_histogram_and_in_the_points():
    model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    X = np.array([[0.0], [1.0]])
    (axes,) = plot_fit(model, X, sample_weight=[3.0, 1.0]).axes
    (outline,) = [patch for patch in axes.patches if not ellipses(axes)]
    heights = outline.get_xy()[:, 1]
    width = 0.1  # ten bins between 0 and 1
    np.testing.assert_allclose([heights.max()], [0.75 / width])
    model = fastem.GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [1.0], "spherical")
    (axes,) = plot_fit(model, np.eye(2), sample_weight=[3.0, 1.0]).axes
    small, large = sorted(axes.collections[0].get_sizes())
    np.testing.assert_allclose(large / small, 3.0)


@pytest.mark.parametrize("K", [7, 40])
@pytest.mark.parametrize("D", [1, 2, 3])
def test_any_number_of_components_renders(tmp_path, K, D):
    model, X = many(K, D)
    plot_fit(model, X, max_points=50).savefig(tmp_path / "fit.png", dpi=40)
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")


def test_constant_features_render(tmp_path):
    model = fastem.GaussianMixture.from_parameters([1.0], [[5.0, 0.0]], [1e-6], "spherical")
    plot_fit(model, np.array([[5.0, 0.0], [5.0, 0.0]])).savefig(tmp_path / "fit.png", dpi=40)


def test_frames_bring_their_names():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(many(2, 2)[1], columns=["left", "right"])
    model = fastem.GaussianMixture(2, random_state=0).fit(frame)
    tables = [frame, pytest.importorskip("pyarrow").table(dict(frame))]
    for table in tables:
        (axes,) = plot_fit(model, table, max_points=20).axes  # without the warning that X has no names
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("left", "right")


def test_lists_are_data_too():
    model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    assert len(plot_fit(model, [[0.0], [1.0]]).axes) == 1


def test_wrong_data_are_refused(X):
    with pytest.raises(ValueError, match="X has 1 features, but GaussianMixture is expecting 2"):
        plot_fit(mixture(), X[:, :1])
    with pytest.raises(ValueError, match="not fitted"):
        plot_fit(fastem.GaussianMixture(), X)
    with pytest.raises(TypeError, match="plot_fit draws a fitted mixture; got KMeans"):
        plot_fit(fastem.KMeans(2), X)
    with pytest.raises(TypeError, match="plot_selection draws what select returns; got int"):
        plot_selection(3)
    for weight, message in ((np.zeros(len(X)), "every weight is zero"), ([1.0], r"shape == \(1,\), expected")):
        with pytest.raises(ValueError, match=message):
            plot_fit(mixture(), X, sample_weight=weight)


def test_drawing_goes_into_the_figure_given(X):
    from matplotlib.figure import Figure

    figure = Figure()
    left, _ = figure.subfigures(1, 2)
    assert plot_fit(mixture(), X, figure=left) is left
    assert len(left.axes) == 1


def test_history(X):
    from matplotlib.figure import Figure

    model = fastem.GaussianMixture(2, random_state=0).fit(X)
    axes = Figure().subplots()
    assert plot_history(model, ax=axes) is axes
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), np.arange(1, model.n_iter_ + 1))
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), model.lower_bounds_)
    assert plot_history(model).figure is not axes.figure
    with pytest.raises(ValueError, match="no iterations to draw"):
        plot_history(mixture())


def test_points_mix_the_colours_of_their_components(X):
    model = mixture()
    resp = model.predict_proba(X)
    colors = plot_points(X, resp).collections[0].get_facecolor()[:, :3]
    pure = plot_points(X, resp.argmax(axis=1)).collections[0].get_facecolor()[:, :3]
    sure = resp.max(axis=1) > 1 - 1e-12
    assert sure.any()
    np.testing.assert_allclose(colors[sure], pure[sure], atol=1e-9)
    blue, orange = pure[resp.argmax(axis=1) == 0][0], pure[resp.argmax(axis=1) == 1][0]
    np.testing.assert_allclose(colors, resp[:, :1] * blue + resp[:, 1:] * orange, atol=1e-9)
    labels = np.where(np.arange(200) < 50, -1, 1)
    found = plot_points(X, labels).collections[0].get_facecolor()[:, :3]
    grey = plot_points(X).collections[0].get_facecolor()[0, :3]
    assert (found[:50] == grey).all()
    assert (found[50:] == orange).all()


@pytest.mark.parametrize(("rows", "resp"), [(np.zeros((3, 3)), None), (np.zeros((3, 2)), np.zeros(4)), ([1.0], None)])
def test_points_of_the_wrong_shape_are_refused(rows, resp):
    with pytest.raises(ValueError, match="shape"):
        plot_points(rows, resp)


def test_nothing_global_changes():
    code = """
import sys, matplotlib
before = matplotlib.rcParams.copy()
import fastem
from fastem.plot import plot_fit
model = fastem.GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [1.0], "spherical")
plot_fit(model, [[0.0, 1.0], [2.0, 1.0]])
assert matplotlib.rcParams.copy() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=child_env())


def test_without_matplotlib_the_extra_is_named(X, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (lambda: plot_fit(mixture(), X), lambda: plot_history(mixture()), require_matplotlib):
        with pytest.raises(ImportError, match=r'pip install "fastem\[plot\]"'):
            draw()


@pytest.mark.parametrize("K", [7, 8, 9, 20, 21, 60])
@pytest.mark.parametrize("D", [1, 2, 4])
def test_every_component_has_its_number_and_up_to_twenty_a_place_in_the_legend(K, D):
    model, X = many(K, D)
    figure = plot_fit(model, X)
    numbered = [ax for ax in figure.axes if len(ax.texts)]
    assert len(numbered) == {1: 1, 2: 1, 4: 6}[D]
    for ax in numbered:
        assert [text.get_text() for text in ax.texts] == [str(k) for k in range(K)]
        assert all(text.get_size() >= 5 for text in ax.texts)
    if D == 2:
        np.testing.assert_allclose([text.get_position() for text in numbered[0].texts], model.means_)
    legends = [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    named = [f"{k} ({100 / K:.1f} %)" for k in range(K)] if K <= 20 else []
    assert [text for text in legends if "%" in text] == named
