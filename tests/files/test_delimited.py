"""Tables of text: what is taken for what, what is asked, and that the numbers are those in the file."""

import gc
import gzip
import os
import sys

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from fastem import GaussianMixture, as_source
from fastem.files import delimited, text_stream
from fastem.files.arrow import LentStream
from fastem.files.delimited import read_blocks, read_text
from fastem.files.tables import read_table
from fastem.files.text_detection import find_layout
from fastem.files.text_layout import TextOptions, describe

IRIS = [[5.1, 3.5], [4.9, 3.0], [4.7, 3.2]]


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


IDS = "id,x,time\n" + "".join(f"{2**53 + 1 + i},{i}e20,{-(2**60) - i}\n" for i in range(3))


@pytest.mark.parametrize("quoted", [False, True])
def test_columns_of_identifiers_are_named_once(tmp_path, quoted):
    path = write(
        tmp_path,
        IDS.replace("9007", '"9007').replace(",0e", '",0e').replace(",1e", '",1e').replace(",2e", '",2e')
        if quoted
        else IDS,
    )
    with pytest.warns(
        UserWarning, match=r"t\.csv: columns 'id', 'time': .* such as 9007199254740993, .* identifiers"
    ) as seen:
        X, _ = read_table(path)
    assert len(seen) == 1
    assert X.shape == (3, 3)
    source = as_source(path, columns=["x", "time"])
    with pytest.warns(UserWarning, match="column 'time'") as seen:
        model = GaussianMixture(1).fit(source)
    assert len(seen) == 1
    model.predict(source)  # another pass
    read_table(path, columns=["x"])  # no integer


def test_integers_that_float64_has_and_large_measurements_are_no_identifiers(tmp_path):
    text = "".join(f"{2**53 - 1 - i},{float(2**53 + 2 * i)}\n" for i in range(3))
    read_table(write(tmp_path, "a,b\n" + text))


def test_a_column_may_begin_with_small_integers(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 40)
    rows = [str(i) for i in range(500)] + [str(2**53 + 1)]
    with pytest.warns(UserWarning, match="column '0'.*such as 9007199254740993"):
        X, _ = read_table(write(tmp_path, "\n\n".join(rows)))
    assert len(X) == 501


LAYOUTS = {
    "semicolons and decimal commas": ("a;b\n5,1;3,5\n4,9;3,0\n4,7;3,2\n", "t.csv"),
    "quoted decimal commas": ('a,b\n"5,1","3,5"\n"4,9","3,0"\n"4,7","3,2"\n', "t.csv"),
    "tabs": ("a\tb\n5.1\t3.5\n4.9\t3.0\n4.7\t3.2\n", "t.tsv"),
    "tabs, named txt": ("a\tb\n5.1\t3.5\n4.9\t3.0\n4.7\t3.2\n", "t.txt"),
    "tabs and decimal commas": ("a\tb\n5,1\t3,5\n4,9\t3,0\n4,7\t3,2\n", "t.tsv"),
    "bars": ("a|b\n5.1|3.5\n4.9|3.0\n4.7|3.2\n", "t.dat"),
    "blanks": ("a b\n5.1 3.5\n4.9 3.0\n4.7 3.2\n", "t.txt"),
    "blanks in columns": ("   a     b\n 5.1   3.5 \n  4.9 3.0\n4.7\t3.2\n", "t.txt"),
    "blanks, Windows": ("a  b\r\n5.1  3.5\r\n4.9  3.0 \r\n4.7  3.2\r\n", "t.txt"),
    "blank after comma": ("a, b\n5.1, 3.5\n4.9, 3.0\n4.7, 3.2\n", "t.csv"),
    "gzip": (gzip.compress(b"a,b\n5.1,3.5\n4.9,3.0\n4.7,3.2\n"), "t.csv.gz"),
    "gzip and blanks": (gzip.compress(b"a b\n5.1  3.5\n4.9  3.0\n4.7  3.2\n"), "t.TXT.GZ"),
    "UTF-16": ("a,b\n5.1,3.5\n4.9,3.0\n4.7,3.2\n".encode("utf-16"), "t.csv"),
    "UTF-16, as Excel's Unicode text": ("a\tb\r\n5,1\t3,5\r\n4,9\t3,0\r\n4,7\t3,2\r\n".encode("utf-16"), "t.txt"),
    "UTF-16, big-endian": (b"\xfe\xff" + "a,b\n5.1,3.5\n4.9,3.0\n4.7,3.2\n".encode("utf-16-be"), "t.csv"),
    "UTF-8 with a mark": (b"\xef\xbb\xbfa,b\n5.1,3.5\n4.9,3.0\n4.7,3.2\n", "t.csv"),
    "units": ("a,b\n[cm],[mm]\n5.1,3.5\n4.9,3.0\n4.7,3.2\n", "t.csv"),
    "comments": ("# made today\n# a b\n5.1 3.5\n4.9 3.0\n4.7 3.2\n", "t.txt"),
    "as NumPy's savetxt": ("# a,b\n5.1,3.5\n4.9,3.0\n4.7,3.2\n", "t.csv"),
    "signs and exponents": ("a,b\n+5.1,35e-1\n+4.9,3.\n4.7,+3.2E0\n", "t.csv"),
    "pandas' index": (",a,b\n0,5.1,3.5\n1,4.9,3.0\n2,4.7,3.2\n", "t.csv"),
    "index of a part of the rows": (",a,b\n3,5.1,3.5\n17,4.9,3.0\n4,4.7,3.2\n", "t.csv"),
    "index of words": (",a,b\nx,5.1,3.5\ny,4.9,3.0\nx,4.7,3.2\n", "t.csv"),
    "pandas' index, read and written": ("Unnamed: 0,a,b\n0,5.1,3.5\n1,4.9,3.0\n2,4.7,3.2\n", "t.csv"),
    "R's write.table": ('"a" "b"\n"1" 5.1 3.5\n"2" 4.9 3.0\n"3" 4.7 3.2\n', "t.txt"),
    "R's write.csv2": ('"";"a";"b"\n"1";5,1;3,5\n"2";4,9;3\n"3";4,7;3,2\n', "t.csv"),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_tables_as_people_have_them(tmp_path, case):
    path = write(tmp_path, *LAYOUTS[case])
    X, names = read_table(path)
    np.testing.assert_array_equal(X, IRIS)
    assert names == ["a", "b"]
    source = as_source(path)
    assert (source.n_rows, source.n_features, list(source.columns)) == (3, 2, ["a", "b"])
    np.testing.assert_array_equal(source.present().X, IRIS)


HEADERS = {
    "pandas' default names with an index": (",0,1\n0,5.1,3.5\n1,4.9,3.0\n", ["0", "1"], 2),
    "years under a name": ("id,2019,2020\n7,1.5,2.5\n8,1.5,2.5\n", ["id", "2019", "2020"], 2),
    "no names": ("5.1,3.5\n4.9,3.0\n", None, 2),
    "integers": ("1,2,9\n3,4,8\n", None, 2),
    "a constant step in every row": ("1,2,3\n4,5,6\n7,8,9\n", None, 3),
    "zeros and ones": ("0 1\n1 0\n0 0\n", None, 3),
    "counts": ("10,3,2\n4,7,1\n", None, 2),
    "names of Windows": ("größe,b\n5.1,3.5\n".encode("cp1252"), ["größe", "b"], 1),
}


@pytest.mark.parametrize("case", HEADERS)
def test_what_is_a_header(tmp_path, case):
    content, names, n = HEADERS[case]
    X, found = read_table(write(tmp_path, content))
    assert (found, len(X)) == (names, n)


DOUBTS = {
    "default names": ("0,1,2\n5.1,3.5,1.4\n4.9,3.0,1.4\n", "header", [["0", "1", "2"], None]),
    "years": ("2019,2020\n1.5,2.5\n2.5,1.5\n", "header", [["2019", "2020"], None]),
    "counted names of counts": ("0,1,2\n5,3,1\n4,3,7\n", "header", [["0", "1", "2"], None]),
    "a name over words": ("id,2019\nx,1.5\ny,2.5\n", "header", [["id", "2019"], None]),
    "a default name alone": ("0\n1.5\n2.5\n", "header", [["0"], None]),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_a_doubtful_header_is_asked_for(tmp_path, case):
    content, option, names = DOUBTS[case]
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=f"may hold names or values: say which with --{option} or --no-{option}"):
        find_layout(path)
    assert [find_layout(path, TextOptions(header=said)).names for said in (True, False)] == names
    n = content.count("\n")
    for said, rows in ((True, n - 1), (False, n)):
        layout = find_layout(path, TextOptions(header=said))
        assert len(read_text(path, layout, [layout.n_columns - 1])[0]) == rows


def test_a_doubtful_decimal_sign_is_asked_for(tmp_path):
    path = write(tmp_path, "a;b\n1,000;2,500\n3,000;4,000\n")
    with pytest.raises(ValueError, match=r"1,000 may be a number of thousands .* say which .* --decimal"):
        find_layout(path)
    X, _ = read_text(path, find_layout(path, TextOptions(decimal=",")), [0, 1])
    np.testing.assert_array_equal(X, [[1, 2.5], [3, 4]])
    with pytest.raises(ValueError, match=r"with a comma, 2,5, and with a point, 1.5: say which"):
        find_layout(write(tmp_path, "a;b\n1.5;2,5\n"))
    np.testing.assert_array_equal(read_table(write(tmp_path, "a;b\n0,125;2,500\n"))[0], [[0.125, 2.5]])


def test_two_integers_or_one_number_with_a_decimal_comma(tmp_path):
    path = write(tmp_path, "33,1\n93,25\n10,5\n")
    with pytest.raises(ValueError, match=r"rows such as 33,1 may be two numbers or one .* --decimal \. or --decimal ,"):
        find_layout(path)
    for options, n in (
        (TextOptions(decimal=","), 1),
        (TextOptions(decimal="."), 2),
        (TextOptions(delimiter=","), 2),
    ):
        assert find_layout(path, options).n_columns == n
    X, _ = read_text(path, find_layout(path, TextOptions(decimal=",")), [0])
    np.testing.assert_array_equal(X, [[33.1], [93.25], [10.5]])
    for text in ("33,-1\n93,2\n", "33, 1\n93, 2\n", "33,1.5\n93,2\n", "a,b\n33,1\n", "33,1,2\n93,2,7\n"):
        assert find_layout(write(tmp_path, text)).n_columns > 1


def test_a_doubtful_delimiter_is_asked_for(tmp_path):
    path = write(tmp_path, "x 1,5\ny 2,5\nz 3,5\n")
    with pytest.raises(ValueError, match=r"may be separated by .* say which with --delimiter"):
        find_layout(path)
    assert find_layout(path, TextOptions(delimiter=" ")).n_columns == 2


def test_a_doubtful_index_is_asked_for(tmp_path):
    path = write(tmp_path, ",b\n0.5,2\n1.5,3\n")
    with pytest.raises(ValueError, match=r"first column has no name and holds 0.5, 1.5, .* --index .* --no-index"):
        find_layout(path)
    assert find_layout(path, TextOptions(index=True)).index
    assert not find_layout(path, TextOptions(index=False)).index
    X, names = read_table(write(tmp_path, ",b\n0,2\n1,3\n"), columns=[0, "b"])  # asked for by its place
    np.testing.assert_array_equal(X, [[0, 2], [1, 3]])
    assert names == ["", "b"]


def test_what_was_taken_for_what_is_said(tmp_path):
    path = write(tmp_path, ";a;b\n;m;s\n0;5,1;3,5\n1;4,9;3,0\n")
    assert describe(find_layout(path), 2) == (
        "2 rows of 3 columns separated by ';'; decimal sign ','; header (none), a, b; units (none), m, s; "
        "the first column counts or names the rows"
    )
    assert describe(find_layout(write(tmp_path, "1\n2\n")), 2) == "2 rows of 1 columns; no header"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("delimiter", "decimal"), [*((sign, ".") for sign in ",;\t |"), *((sign, ",") for sign in ";\t |")]
)
def test_what_is_written_is_read_back_to_the_bit(tmp_path, seed, delimiter, decimal):
    """Numbers of any size, with and without a header, in blocks far smaller than the file."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(500, 3)) * 10.0 ** rng.integers(-300, 300, size=(500, 3))
    lines = [delimiter.join(repr(value).replace(".", decimal) for value in row) for row in X.tolist()]
    path = write(tmp_path, "\n".join(([delimiter.join("abc")] if seed % 2 else []) + lines), "t.txt")
    layout = find_layout(path)
    assert (layout.delimiter, layout.decimal) == (delimiter, decimal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK_BYTES", 4096)
        patch.setattr(text_stream, "READ_BYTES", 1000)
        np.testing.assert_array_equal(read_text(path, layout, [2, 0, 1])[0], X[:, [2, 0, 1]])
    np.testing.assert_array_equal(read_text(path, layout, [0, 1, 2])[0], X)


FAULTS = {
    "a word, blanks": ("a b\n1 2\n3 x\n", "column 'b', row 3: expected a finite number, found 'x'"),
    "a word, decimal commas": ("a;b\n1,5;2\n3;1.2\n4,5;1\n3,5;1.x\n", "--decimal"),
    "thousands": ("a;b\n1,5;2\n3;1.234,5\n", "column 'b', row 3: .* found '1.234,5'"),
    "a title, three columns": ("Table 1,,\na,b,c\n1,2,3\n3,4,5\n", "column 'Table 1', row 2: .* found 'a'"),
    "a column with decimal commas": ("a\n1,5\n2,5\n", "row 1 has 1 cells, expected 2"),
    "short": ("a;b\n1,5;2\n3\n", "row 3 has 1 cells, expected 2"),
    "a title": ("Table 1\na,b\n1,2\n3,4\n", "row 1 has 1 cells, expected 2"),
    "infinity": ("a\tb\n1\t2\n3\tinf\n", "column 'b', row 3: expected a finite number, found 'inf'"),
    "a header and units alone": ("a,b\nm,s\n", "column 'a', row 2: .* found 'm'"),
    "not text": (b"a,b\n\0\1\0\2", "holds NUL bytes"),
    "a gzip file cut short": (gzip.compress(b"a,b\n" + b"1,2\n" * 9)[:-12], "t.csv.gz: a damaged .gz file"),
    "no gzip file": (b"a,b\n1,2\n", "t.csv.gz: a damaged .gz file"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_cannot_be_read_is_named(tmp_path, case):
    content, message = FAULTS[case]
    path = write(tmp_path, content, "t.csv.gz" if "gzip" in case else "t.csv")
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_incomplete_rows_are_left_out_and_counted(tmp_path):
    path = write(tmp_path, "a,b,c\n1,2,x\n,3,y\n4,NA,z\n5,6,\n")
    layout = find_layout(path)
    X, n_dropped = read_text(path, layout, [0, 1], gaps="drop")
    np.testing.assert_array_equal(X, [[1, 2], [5, 6]])  # the empty cell of c is nobody's
    assert n_dropped == 2
    with pytest.raises(ValueError, match="column 'a', row 3: expected a finite number, found ''"):
        read_text(path, layout, [0, 1])
    path = write(tmp_path, "a,b\n,2\n3,inf\n")
    with pytest.raises(ValueError, match="column 'b', row 3: expected a finite number, found 'inf'"):
        read_text(path, find_layout(path), [0, 1], gaps="drop")


def test_as_source_reads_text_on_each_pass(tmp_path):
    """The bits of a fit in memory; the columns of weights and labels are no features."""
    rng = np.random.default_rng(0)
    X, w, labels = rng.normal(size=(3000, 2)), rng.integers(1, 4, 3000), rng.integers(-1, 2, 3000)
    table = np.column_stack([np.arange(3000), X[:, 0], w, labels, X[:, 1]])
    lines = [",a,w,l,b", *(f"{i:.0f},{a!r},{w:.0f},{label:.0f},{b!r}" for i, a, w, label, b in table.tolist())]
    path = write(tmp_path, "\n".join(lines))
    source = as_source(path, "w", "l")
    assert list(source.columns) == ["a", "b"]
    found = GaussianMixture(2, random_state=0).fit(source)
    want = GaussianMixture(2, random_state=0).fit(X, sample_weight=w, labels=labels)
    np.testing.assert_array_equal(found.means_, want.means_)
    np.testing.assert_array_equal(
        GaussianMixture(2, random_state=0).fit(as_source(path, columns=["b"])).n_features_in_, 1
    )


def test_as_source_names_what_cannot_be_read(tmp_path):
    path = write(tmp_path, "a,b\n1,2\n3,x\n")
    with pytest.raises(
        OSError,
        match=r"pass 1 .* t.csv could not be read .*column 'b', row 3: .* found 'x'".replace("t.csv", r"\S*t.csv"),
    ):
        as_source(path).sum_w  # noqa: B018
    with pytest.raises(ValueError, match="NaN"):
        GaussianMixture().fit(as_source(write(tmp_path, "a,b\n1,2\n3,\n")))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "fastem\[cli\]"'):
        read_table(write(tmp_path, "a,b\n1,2\n"))


def test_rows_longer_than_what_is_read_at_a_time(tmp_path):
    """60,000 columns, as of gene expressions: a row is 1.1 MB."""
    X = np.random.default_rng(0).normal(size=(4, 60_000))
    lines = [",".join(f"gene{j}" for j in range(60_000)), *(",".join(map(repr, row)) for row in X.tolist())]
    path = write(tmp_path, "\n".join(lines))
    found, names = read_table(path, columns=["gene7", "gene59999"])
    np.testing.assert_array_equal(found, X[:, [7, 59999]])
    assert names == ["gene7", "gene59999"]


def test_tabs_of_which_some_are_double(tmp_path):
    """As in UCI's seeds: blanks explain every row, tabs most of them."""
    rows = [f"{i}.5" + ("\t\t" if i % 20 == 7 else "\t") + f"{i}.25\t1.5" for i in range(100)]
    X, _ = read_table(write(tmp_path, "\n".join(rows), "seeds.txt"))
    np.testing.assert_array_equal(X, [[i + 0.5, i + 0.25, 1.5] for i in range(100)])


def test_only_line_ends_end_lines(tmp_path):
    X, names = read_table(write(tmp_path, "a\u2028x,b\x0c\n1,2\n3,4\n"))
    np.testing.assert_array_equal(X, [[1, 2], [3, 4]])
    assert names == ["a\u2028x", "b"]


def test_memory_of_reading_is_that_of_the_numbers(tmp_path):
    """A table of 16 MB of numbers: no list of blocks beside the table, nor the file's text."""
    import tracemalloc

    row = "0.1234567890123,1.5,2.25,3.125\n"
    path = write(tmp_path, row * 500_000)
    layout = find_layout(path)
    tracemalloc.start()
    try:
        X, _ = read_text(path, layout, [0, 1, 2, 3])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert X.nbytes == 16_000_000
    assert peak < 1.6 * X.nbytes
    assert os.path.getsize(path) == 500_000 * len(row)


@pytest.fixture
def long_turns():
    """Let no thread interrupt another for 5 s: those of pyarrow that want Python's lock come late, as under load."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def only_new_objects():
    """Let `gc.get_objects` leave out what is there before the test: it takes 0.1 s to look at."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize(
    "case", ["whole", "bad cell", "no table", "damaged, packed", "left early", "packed, left early"]
)
def test_no_thread_holds_the_file_when_reading_ends(tmp_path, long_turns, only_new_objects, case):
    # A thread of pyarrow that frees an object of Python while Python ends aborts the process.
    rows = "1,2\n3,4\n5,6\n" * (1 if "early" not in case else 200_000)
    content = ("a,b\n" + rows + ("x,7\n" if case == "bad cell" else "")).encode()
    path = write(
        tmp_path, gzip.compress(content, 1) if "packed" in case else content, "t.csv" + ".gz" * ("packed" in case)
    )
    layout = find_layout(path)
    if case == "no table":
        path.write_bytes(b"")
    if case == "damaged, packed":
        path.write_bytes(path.read_bytes()[:-9])
    for _ in range(1 if "early" in case else 8):
        blocks = read_blocks(path, layout, [0, 1])
        if case in ("bad cell", "no table", "damaged, packed"):
            with pytest.raises(ValueError, match=r"t\.csv"):
                list(blocks)
        else:
            next(blocks) if "early" in case else list(blocks)
            blocks.close()
        assert not [found for found in gc.get_objects() if type(found) is LentStream]  # proxies have no class
