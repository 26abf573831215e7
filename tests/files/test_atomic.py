"""Files that appear whole or not at all: what stays of a file that is replaced, and what a killed writer leaves."""

import os
import signal
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from helpers import child_env

import fastem
from fastem import write_scores
from fastem.files.archive import ModelFileError
from fastem.files.atomic import check_distinct, replacing

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX")


def replace(path, content=b"new"):
    with replacing(path) as stream:
        stream.write(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_replaced_file_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "m.npz"
    path.touch()
    path.chmod(mode)
    with replacing(path) as stream:  # nobody else may read the half-written file either
        (temporary,) = [other for other in tmp_path.iterdir() if other != path]
        assert stat.S_IMODE(temporary.stat().st_mode) == mode
        stream.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


@posix
def test_what_a_link_leads_to_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "m.npz").write_bytes(b"old")
    (tmp_path / "m.npz").symlink_to("far/m.npz")
    replace(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").is_symlink()
    assert (tmp_path / "far" / "m.npz").read_bytes() == b"new"
    (tmp_path / "new.npz").symlink_to("far/new.npz")  # which is not there yet
    replace(tmp_path / "new.npz")
    assert (tmp_path / "new.npz").is_symlink()
    assert names(tmp_path / "far") == ["m.npz", "new.npz"]
    (tmp_path / "lost.npz").symlink_to("nowhere/m.npz")
    model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    with pytest.raises(ValueError, match=r"lost\.npz: the folder '.*nowhere' does not exist"):
        fastem.save(model, tmp_path / "lost.npz")


KILLED = """
import os, signal, sys
from pathlib import Path
from fastem.files.atomic import replacing
with replacing(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    print("written", flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def child(path, what, **options):
    command = [sys.executable, "-c", KILLED, str(path), what]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_env(), **options)


@posix
def test_what_a_killed_writer_leaves_is_removed_by_the_next(tmp_path):
    path = tmp_path / "c [1].npz"  # no pattern
    path.write_bytes(b"old")
    (tmp_path / ".c [1].npz.backup").write_bytes(b"mine")
    (tmp_path / ".c 1.npz.01234567").write_bytes(b"mine")
    with child(path, "die") as process:
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert len(names(tmp_path)) == 4
    replace(path)
    assert names(tmp_path) == [".c 1.npz.01234567", ".c [1].npz.backup", "c [1].npz"]
    assert path.read_bytes() == b"new"


@posix
def test_a_file_that_another_process_is_writing_stays(tmp_path):
    path = tmp_path / "c.npz"
    with child(path, "wait") as process:
        assert process.stdout.readline() == b"written\n"
        replace(path)
        assert path.read_bytes() == b"new"
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    assert path.read_bytes() == b"half"  # the last to be complete
    assert names(tmp_path) == ["c.npz"]


FULL = """
import resource, sys
import numpy as np, fastem
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    fastem.files.tables.write_table(sys.argv[1], np.arange(10_000.0), ["x"])
except OSError as error:
    print(error.filename, error.strerror, sep="|")
"""


@posix
@pytest.mark.parametrize("ending", ["csv", "npy", "parquet"])
def test_an_error_in_writing_names_the_file(tmp_path, ending):
    """A limit on the size of files, as a full disk."""
    path = tmp_path / f"x.{ending}"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", FULL, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=child_env())
    assert result.stdout == f"{path}|File too large\n", result.stderr
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == [path.name]


@posix
@pytest.mark.parametrize("name", ["a" * 251 + ".npz", "\u20ac" * 83 + "ab.npz"])
def test_the_longest_names_can_be_written(tmp_path, name):
    assert len(os.fsencode(name)) == 255
    replace(tmp_path / name)
    replace(tmp_path / name)  # found by the name of its temporary file, what a killed writer left is looked for
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"new"


@posix
def test_a_name_that_is_too_long_is_named_and_leaves_nothing(tmp_path):
    path = tmp_path / ("a" * 256 + ".npz")
    with pytest.raises(OSError, match="too long") as raised:
        fastem.save(fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical"), path)
    assert raised.value.filename == str(path)
    assert names(tmp_path) == []


def test_an_error_that_is_not_of_the_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"), replacing(tmp_path / "x"):
        (tmp_path / "absent").read_bytes()
    assert names(tmp_path) == []


@posix
def test_outputs_are_told_apart_from_inputs_whatever_leads_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "rows.npy"
    np.save(source, np.zeros((3, 1)))
    (tmp_path / "link.npy").symlink_to("rows.npy")
    os.link(source, tmp_path / "hard.npy")
    (tmp_path / "here").symlink_to(tmp_path)
    for name in ("rows.npy", "./rows.npy", "link.npy", "hard.npy", "here/rows.npy"):
        with pytest.raises(ValueError, match="would replace the input"):
            check_distinct({"--output": tmp_path / name}, [source])
    check_distinct({"--output": tmp_path / "other.npy", "--plot": None}, [source, tmp_path / "absent"])
    for name in ("m.npz", "here/m.npz"):
        with pytest.raises(ValueError, match="--output and --checkpoint are the same file"):
            check_distinct({"--output": tmp_path / "m.npz", "--checkpoint": tmp_path / name}, [source])
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="would be a part of the input"):
        check_distinct({"--output": tmp_path / "folder" / "new.parquet"}, [tmp_path / "folder"])
    check_distinct({"--output": tmp_path / "folder" / "new.npy"}, [tmp_path / "folder"])


@pytest.mark.parametrize("path", [None, 3, b"m.npz", ["m.npz"], "", "a\0.npz"], ids=repr)
def test_what_is_no_path_is_named(path):
    model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    calls = [fastem.load, lambda path: fastem.save(model, path), lambda path: write_scores(model, [[0.0]], path)]
    if path is not None:
        calls.append(lambda path: fastem.GaussianMixture().fit([[0.0], [1.0]], checkpoint=path))
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=r"expected (a path, as a str or|the path of a file; got)"):
            call(path)


def test_write_scores_does_not_replace_its_rows(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((3, 1)))
    model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    with pytest.raises(ValueError, match="would replace the input"):
        write_scores(model, tmp_path / "rows.npy", tmp_path / "rows.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), np.zeros((3, 1)))


# --- archives


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "m.npz"
    fastem.save(fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical"), path)
    return path


def rewrite(path, name, content, **options):
    """Write an archive again, with other content of one member."""
    with zipfile.ZipFile(path) as old:
        members = {one: old.read(one) for one in old.namelist()} | {name: content}
    with zipfile.ZipFile(path, "w", **options) as new:
        for one, value in members.items():
            new.writestr(one, value)


def test_a_member_that_unpacks_to_more_than_the_file_is_refused(archive):
    """20 MB of zeros in 20 kB; before, whatever it unpacked to was in memory, six times."""
    content = np.lib.format.magic(1, 0) + b"\0" * 20_000_000
    rewrite(archive, "lower_bounds.npy", content, compression=zipfile.ZIP_DEFLATED)
    assert archive.stat().st_size < 50_000
    with pytest.raises(
        ModelFileError, match=r"expected members of \d+ bytes at most, as many as the file has; they unp"
    ):
        fastem.load(archive)


@pytest.mark.parametrize("name", ["means.npy", "format.npy", "status.npy", "noise_box.npy", "parameters.npy"])
@pytest.mark.parametrize("content", [b"", b"no array", b"\x80\x04N."])
def test_a_member_that_is_no_array_is_refused(archive, name, content):
    rewrite(archive, name, content)
    with pytest.raises(ModelFileError, match=rf"m\.npz: (expected an array '{name[:-4]}' in \.npy format|not a model)"):
        fastem.load(archive)
