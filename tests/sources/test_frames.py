"""Rows in frames of pandas, polars and Arrow: columns that hold no numbers, names, columns chosen."""

import datetime
import decimal
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fastem
from fastem import GaussianMixture, KMeans

N = 6
NUMBERS = [1.0, 2.0, 3.5, 4.0, 5.5, 6.0]
DAYS = [datetime.date(2020, 1, day) for day in range(1, N + 1)]
DATED = {
    "date": DAYS,
    "datetime": [datetime.datetime(2020, 1, day) for day in range(1, N + 1)],
    "duration": [datetime.timedelta(day) for day in range(1, N + 1)],
    "time": [datetime.time(hour) for hour in range(1, N + 1)],
}
ARROW = {"date": pa.date32(), "datetime": pa.timestamp("ns"), "duration": pa.duration("us"), "time": pa.time64("us")}
FRAMES = {
    "polars": lambda columns: pl.DataFrame(columns),
    "pyarrow": lambda columns: pa.table(columns),
    "batch": lambda columns: pa.record_batch(columns),
    "pandas": lambda columns: pd.DataFrame(columns),
}


@pytest.mark.parametrize("alone", [False, True], ids=["with numbers", "alone"])
@pytest.mark.parametrize("what", DATED)
@pytest.mark.parametrize("kind", FRAMES)
def test_dates_are_no_numbers(kind, what, alone):
    """As integers they would depend on their unit, and a missing one would be -9e18."""
    frame = FRAMES[kind]({"b": DATED[what]} if alone else {"a": NUMBERS, "b": DATED[what]})
    for use in (
        GaussianMixture(1).fit,
        KMeans(1).fit,
        fastem.as_source,
        partial(fastem.as_source, columns=["b"]),
    ):
        with pytest.raises(ValueError, match=r"Input X holds dates or durations \(.*\): convert them to numbers first"):
            use(frame)


@pytest.mark.parametrize("what", DATED)
def test_dates_of_arrow_in_pandas(what):
    frame = pd.DataFrame({"a": NUMBERS, "b": pd.array(DATED[what], dtype=pd.ArrowDtype(ARROW[what]))})
    with pytest.raises(ValueError, match=r"dates or durations \(column 'b': .*\)"):
        GaussianMixture(1).fit(frame)


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("2020-01-01"),
        np.timedelta64(3, "D"),
        np.datetime64("NaT"),
        pd.Timestamp("2020"),
        pd.Timedelta(3),
        *(values[0] for values in DATED.values()),
    ],
    ids=repr,
)
def test_dates_among_objects(value):
    rows = np.array([[1.0, 2.0], [3.0, value], [5.0, 6.0]], dtype=object)
    for given in (rows, rows.tolist(), pd.DataFrame(rows)):
        with pytest.raises(ValueError, match=rf"dates or durations \({type(value).__name__}\)"):
            GaussianMixture(1).fit(given)
    with pytest.raises(ValueError, match="sample_weight should hold real numbers: got dates or durations"):
        GaussianMixture(1).fit(NUMBERS_2D[:3], sample_weight=rows[:, 1])


NUMBERS_2D = np.column_stack([NUMBERS, np.square(NUMBERS)])


def test_numbers_of_all_kinds():
    """Decimals, booleans, integers and objects that are numbers are what they were."""
    want = GaussianMixture(1).fit(np.column_stack([NUMBERS, [1, 0, 1, 0, 1, 0]])).means_
    for column in ([True, False] * 3, [1, 0] * 3, [decimal.Decimal(1), decimal.Decimal(0)] * 3):
        for kind in FRAMES:
            frame = FRAMES[kind]({"a": NUMBERS, "b": column})
            np.testing.assert_array_equal(GaussianMixture(1).fit(frame).means_, want)
    np.testing.assert_array_equal(GaussianMixture(1).fit(np.array([NUMBERS, [1, 0] * 3], dtype=object).T).means_, want)
    digits = np.array([NUMBERS, ["1.0", "0.0"] * 3], dtype=object).T  # are numbers, and lose none
    np.testing.assert_array_equal(GaussianMixture(1).fit(digits).means_, want)


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_have_names(kind):
    frame = FRAMES[kind]({"a": NUMBERS, "b": NUMBERS_2D[:, 1]})
    model = GaussianMixture(1).fit(frame)
    assert list(model.feature_names_in_) == ["a", "b"]
    want = GaussianMixture(1).fit(NUMBERS_2D).score_samples(NUMBERS_2D)
    np.testing.assert_array_equal(model.score_samples(frame), want)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(FRAMES[kind]({"b": NUMBERS, "a": NUMBERS}))
    with pytest.raises(ValueError, match="Feature names unseen at fit time"):
        model.predict(FRAMES[kind]({"a": NUMBERS, "b": NUMBERS, "c": NUMBERS}))


@pytest.mark.parametrize("kind", ["polars", "pyarrow", "pandas"])
def test_missing_values_of_frames(kind):
    with pytest.raises(ValueError, match="Input X contains NaN"):
        GaussianMixture(1).fit(FRAMES[kind]({"a": NUMBERS, "b": [1, None, 3, 4, 5, 6]}))


@pytest.mark.parametrize("kind", FRAMES)
def test_columns_of_a_frame_by_name_or_position(kind):
    frame = FRAMES[kind]({"id": list("uvwxyz"), "a": NUMBERS, "b": NUMBERS_2D[:, 1]})
    for columns in (["b", "a"], [2, 1]):
        source = fastem.as_source(frame, columns=columns)
        assert list(source.columns) == ["b", "a"]
        np.testing.assert_array_equal(GaussianMixture(1).fit(source).means_, NUMBERS_2D[:, ::-1].mean(axis=0)[None])
    with pytest.raises(ValueError, match="X: no column 'c'; the columns are id, a, b"):
        fastem.as_source(frame, columns=["c"])


def test_a_lazy_frame_is_refused_with_what_to_do():
    lazy = pl.DataFrame({"a": NUMBERS, "b": NUMBERS}).lazy()
    model = GaussianMixture(1).fit(lazy.collect())
    for use in (GaussianMixture(1).fit, KMeans(1).fit, model.predict, fastem.as_source):
        with pytest.raises(TypeError, match=r"LazyFrame, a query that holds no rows yet: pass X.collect\(\)"):
            use(lazy)
