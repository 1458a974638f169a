"""Files and folders are written whole or not at all."""

import os
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest

from lipflow_core.claiming import claimed
from lipflow_core.errors import StorageError
from lipflow_core.storage import (
    make_folder,
    open_to_append,
    refuse_links,
    remove_temporaries,
    write_atomically,
    write_together,
    written_folder,
)

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="pipes and links are POSIX")


def test_a_file_is_replaced_by_what_was_written(tmp_path):
    file = tmp_path / "a"
    for content in (b"one", "zwei ÷", lambda stream: stream.write(b"three")):
        write_atomically(file, content)
    assert file.read_bytes() == b"three"
    assert os.listdir(tmp_path) == ["a"]


def test_a_new_file_has_the_usual_permissions(tmp_path):
    write_atomically(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_link_is_followed(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to("a")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "new"


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a").write_text("old")

    def failing(stream):
        stream.write(b"half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_atomically(tmp_path / "a", failing)
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_appears_once_it_is_complete(tmp_path):
    target = tmp_path / "deep" / "model"
    with written_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert os.listdir(target) == ["a"]
    assert os.listdir(tmp_path / "deep") == ["model"]


def test_a_folder_replaces_the_one_before_or_leaves_it(tmp_path):
    target = tmp_path / "model"
    with written_folder(target) as folder:
        (folder / "old").write_text("1")
    with pytest.raises(RuntimeError, match="stopped"), written_folder(target) as folder:
        (folder / "half").write_text("1")
        raise RuntimeError("stopped")
    assert os.listdir(target) == ["old"]
    with written_folder(target) as folder:
        (folder / "new").write_text("1")
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["model"]


def test_files_written_together_leave_others_alone(tmp_path):
    (tmp_path / "metrics").write_text("kept")
    write_together(tmp_path, {"a": b"1", "b": b"2"})
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "metrics"]


def test_of_files_written_together_all_change_or_none(tmp_path):
    write_together(tmp_path, {"a": b"1"})
    (tmp_path / "b").mkdir()
    with pytest.raises(StorageError, match="b is a folder"):
        write_together(tmp_path, {"a": b"2", "b": b"2"})
    assert (tmp_path / "a").read_bytes() == b"1"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("write", [write_atomically, lambda path, content: write_together(path, {"x": content})])
def test_a_file_in_the_way_of_a_folder_is_told(tmp_path, write):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"can't be written: .*\n  .*write elsewhere"):
        write(tmp_path / "file" / "inside", b"")
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(StorageError, match="The folder does not exist"):
        write_atomically(tmp_path / "none" / "a", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
@pytest.mark.parametrize("before", [True, False])
def test_a_disk_that_fills_up_leaves_the_old_file_and_no_temporary(tmp_path, before):
    if before:
        (tmp_path / "a").write_text("old")
    script = textwrap.dedent(f"""
        import resource
        folder, file = {str(tmp_path)!r}, {str(tmp_path / "a")!r}
        from lipflow_core.errors import StorageError
        from lipflow_core.storage import write_atomically, write_together
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        for write in (write_atomically, lambda path, content: write_together(folder, {{"b": b"", "a": content}})):
            try:
                write(file, bytes(5000))
            except StorageError as error:
                print(error.exit_code, error)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.count("8 ") == 2
    assert os.listdir(tmp_path) == (["a"] if before else [])
    assert not before or (tmp_path / "a").read_text() == "old"


def test_a_long_name_leaves_room_for_its_temporary(tmp_path):
    name = "字" * 85  # 255 bytes, the most that a name may have
    write_atomically(tmp_path / name, "whole")
    assert (tmp_path / name).read_text() == "whole"


@POSIX
def test_a_pipe_that_the_user_names_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, "through")
    reader.join()
    assert read == [b"through"]
    assert pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]


@POSIX
def test_a_pipe_whose_reader_goes_away_is_no_fault_of_the_disk(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    def read_a_little():
        with open(tmp_path / "pipe", "rb", buffering=0) as file:
            file.read(1)

    reader = threading.Thread(target=read_a_little)
    reader.start()
    with pytest.raises(BrokenPipeError):
        write_atomically(tmp_path / "pipe", bytes(2**20))
    reader.join()


@POSIX
def test_standard_output_by_name_is_written_to_and_not_replaced(tmp_path):
    program = "from lipflow_core.storage import write_atomically\nwrite_atomically('/dev/stdout', 'one ')\nprint('two')"
    with open(tmp_path / "out", "a") as out:
        subprocess.run([sys.executable, "-c", program], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "one two\n"


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a file system in memory")
def test_a_file_in_shared_memory_is_replaced_and_not_written_to_in_place():
    def fail(file):
        file.write(b"half")
        raise OSError("broken")

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        place = Path(folder) / "file"
        place.write_text("old")
        with pytest.raises(StorageError):
            write_atomically(place, fail)
        assert place.read_text() == "old" and os.listdir(folder) == ["file"]


@POSIX
def test_a_folder_or_socket_that_the_user_names_is_refused(tmp_path):
    import socket

    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name, kind in (("folder", "is a folder"), ("socket", "is a socket, not a file")):
            with pytest.raises(StorageError, match=f"{name}: can't be written: {name} {kind}"):
                write_atomically(tmp_path / name, b"")
    assert sorted(os.listdir(tmp_path)) == ["folder", "socket"]


@pytest.fixture
def strangers(tmp_path):
    """A folder of results, and one outside of it that links may lead to."""
    (tmp_path / "results").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine").write_text("mine")
    return tmp_path / "results"


@POSIX
@pytest.mark.parametrize("target", ["../outside/mine", "../outside/new"])
def test_in_a_folder_of_results_a_link_is_replaced_and_not_followed(strangers, target):
    (strangers / "fit.json").symlink_to(target)
    write_atomically(strangers / "fit.json", "theirs", within=strangers)
    assert (strangers / "fit.json").read_text() == "theirs"
    assert not (strangers / "fit.json").is_symlink()
    assert os.listdir(strangers.parent / "outside") == ["mine"]
    assert (strangers.parent / "outside" / "mine").read_text() == "mine"


@POSIX
@pytest.mark.parametrize(
    "write",
    [
        lambda results: write_atomically(results / "link" / "mine", b"", within=results),
        lambda results: open_to_append(results / "link" / "mine", within=results),
        lambda results: make_folder(results / "link", within=results),
        lambda results: make_folder(results / "link" / "deeper", within=results),
        lambda results: written_folder(results / "link", within=results).__enter__(),
        lambda results: refuse_links(results),
    ],
)
def test_in_a_folder_of_results_a_folder_that_is_a_link_is_refused(strangers, write):
    (strangers / "link").symlink_to("../outside")
    with pytest.raises(StorageError, match="link"):
        write(strangers)
    assert os.listdir(strangers.parent / "outside") == ["mine"]
    assert (strangers.parent / "outside" / "mine").read_text() == "mine"


@POSIX
def test_in_a_folder_of_results_nothing_is_appended_through_a_link(strangers):
    (strangers / "metrics").symlink_to("../outside/mine")
    with pytest.raises(StorageError, match="metrics is a link"):
        open_to_append(strangers / "metrics", within=strangers)
    assert (strangers.parent / "outside" / "mine").read_text() == "mine"


@POSIX
@pytest.mark.parametrize(
    "write",
    [
        lambda results: write_atomically(results / "pipe", b"", within=results),
        lambda results: open_to_append(results / "pipe", within=results),
        lambda results: write_together(results, {"pipe": b""}),
    ],
)
def test_in_a_folder_of_results_a_pipe_is_refused(strangers, write):
    os.mkfifo(strangers / "pipe")
    with pytest.raises(StorageError, match="pipe is a pipe, not a file"):
        write(strangers)
    assert (strangers / "pipe").is_fifo()


@POSIX
def test_files_written_together_replace_links_and_follow_none(strangers):
    (strangers / "a").symlink_to("../outside/mine")
    write_together(strangers, {"a": b"theirs"})
    assert (strangers.parent / "outside" / "mine").read_text() == "mine"


@POSIX
def test_temporaries_are_not_removed_through_a_link(strangers):
    (strangers.parent / "outside" / ".a.01234567.tmp").write_text("")
    (strangers / "link").symlink_to("../outside")
    remove_temporaries(strangers / "link")
    assert (strangers.parent / "outside" / ".a.01234567.tmp").exists()


def test_a_path_that_leads_out_of_the_folder_of_results_is_refused(strangers):
    with pytest.raises(StorageError, match="leads out of the folder"):
        write_atomically(strangers / ".." / "outside" / "mine", b"", within=strangers)


def test_what_is_appended_follows_what_was_there(tmp_path):
    for text in (b"one\n", b"two\n"):
        with open_to_append(tmp_path / "log", within=tmp_path) as file:
            file.write(text)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_a_claimed_folder_is_refused_to_others_and_goes_again_if_it_stays_empty(tmp_path):
    with claimed(tmp_path / "new", "fitting"):
        with (
            pytest.raises(StorageError, match="another process is fitting there"),
            claimed(tmp_path / "new", "fitting"),
        ):
            pass
        assert os.listdir(tmp_path / "new") == [".lock"]
    assert not (tmp_path / "new").exists()
    with claimed(tmp_path / "new", "fitting"):
        (tmp_path / "new" / "result").write_text("1")
    assert os.listdir(tmp_path / "new") == ["result"]


def test_what_a_killed_process_left_is_removed_or_put_back(tmp_path):
    (tmp_path / ".file.01234567.tmp").write_text("half")
    (tmp_path / ".half.01234567.tmp").mkdir()
    for name in ("kept", "gone"):
        (tmp_path / f".{name}.01234567.old").mkdir()
        (tmp_path / f".{name}.01234567.old" / "old").write_text("old")
    (tmp_path / "kept").mkdir()
    (tmp_path / ".hidden").write_text("mine")
    remove_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".hidden", "gone", "kept"]
    assert os.listdir(tmp_path / "kept") == [] and os.listdir(tmp_path / "gone") == ["old"]
