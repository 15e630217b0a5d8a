"""Downloads against a local server that cuts connections and serves wrong bytes."""

import hashlib
import re
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import numpy as np
import pytest

from trilemma.core.errors import BadInput
from trilemma.data.catalogue import download_folder, locate
from trilemma.data.download import CHUNK, PATIENCE, DownloadFailed, fetch
from trilemma.data.entries import Entry, Form, Remote

CONTENT = np.random.default_rng(0).bytes(700_000)
MD5 = "md5:" + hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@dataclass
class Server:
    """What to serve and how badly.

    Args:
        content: the file.
        cut_after: bytes after which each connection is cut; None = never.
        ranges: whether `Range` is honoured.
        statuses: answers to give before the first good one.
    """

    content: bytes = CONTENT
    cut_after: int | None = None
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server():
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range", "")
            state.asked.append(asked)
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            start = int(re.findall(r"\d+", asked)[0]) if asked and state.ranges else 0
            if start >= len(state.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(state.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_after])
            self.wfile.flush()
            if state.cut_after is not None:
                self.connection.close()

        def log_message(self, *args):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{served.server_port}/rows.bin"
    yield state
    served.shutdown()
    served.server_close()
    thread.join()


def entry(url, checksum=MD5, *more):
    return Entry(
        name="toy",
        kind="Toy",
        title="toy",
        classes=2,
        shape=(1,),
        rows=(1, 0),
        source="nowhere",
        licence="none",
        forms=(Form(reader="toy", files=("rows.bin",)),),
        remotes=(Remote(file="rows.bin", urls=(url, *more), checksum=checksum),),
    )


class Watched:
    """Progress and waits, recorded."""

    def __init__(self):
        self.steps, self.waits = [], []

    def progress(self, name, done, total):
        self.steps.append((name, done, total))

    def wait(self, seconds):
        self.waits.append(seconds)


@pytest.fixture
def watched():
    return Watched()


def run(watched, wanted):
    return fetch(wanted, progress=watched.progress, wait=watched.wait)


@pytest.mark.usefixtures("nowhere")
def test_a_whole_file_is_kept_in_the_cache_and_found_there(server, watched):
    wanted = entry(server.url)
    (path,) = run(watched, wanted)
    assert path.read_bytes() == CONTENT
    assert path.parent == download_folder(wanted)
    assert locate(wanted).how == "cache"
    assert watched.steps[-1] == ("rows.bin", len(CONTENT), len(CONTENT))
    run(watched, wanted)
    assert len(server.asked) == 1, "what is there is not asked for again"


@pytest.mark.usefixtures("nowhere")
def test_a_cut_download_goes_on_where_it_stopped(server, watched):
    server.cut_after = 300_000
    (path,) = run(watched, entry(server.url))
    assert path.read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").removesuffix("-") or 0) for asked in server.asked]
    assert len(starts) == 3
    assert starts[0] == 0
    for before, after in pairwise(starts):
        assert 300_000 - CHUNK < after - before <= 300_000, "nearly all that came is kept"
    assert watched.waits == [], "no waiting while bytes arrive"
    done = [step[1] for step in watched.steps]
    assert done == sorted(done)


@pytest.mark.usefixtures("nowhere")
def test_what_was_kept_serves_the_next_run(server, watched):
    wanted = entry(server.url)
    folder = download_folder(wanted)
    folder.mkdir(parents=True)
    (folder / "rows.bin.part").write_bytes(CONTENT[:123_456])
    (path,) = run(watched, wanted)
    assert server.asked == ["bytes=123456-"]
    assert path.read_bytes() == CONTENT


@pytest.mark.usefixtures("nowhere")
def test_a_part_that_is_already_whole_is_recognised(server, watched):
    wanted = entry(server.url)
    folder = download_folder(wanted)
    folder.mkdir(parents=True)
    (folder / "rows.bin.part").write_bytes(CONTENT)
    (path,) = run(watched, wanted)
    assert path.read_bytes() == CONTENT


@pytest.mark.usefixtures("nowhere")
def test_a_part_longer_than_the_file_is_thrown_away(server, watched):
    wanted = entry(server.url)
    folder = download_folder(wanted)
    folder.mkdir(parents=True)
    (folder / "rows.bin.part").write_bytes(CONTENT + b"more")
    (path,) = run(watched, wanted)
    assert path.read_bytes() == CONTENT


@pytest.mark.usefixtures("nowhere")
def test_a_server_without_ranges_starts_again(server, watched):
    server.ranges = False
    wanted = entry(server.url)
    folder = download_folder(wanted)
    folder.mkdir(parents=True)
    (folder / "rows.bin.part").write_bytes(b"x" * 1_000)
    (path,) = run(watched, wanted)
    assert path.read_bytes() == CONTENT


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_wrong_checksum_names_both_and_keeps_nothing(server, watched, algorithm):
    expected = f"{algorithm}:{'0' * (32 if algorithm == 'md5' else 64)}"
    actual = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
    wanted = entry(server.url, expected)
    with pytest.raises(BadInput) as error:
        run(watched, wanted)
    assert f"has the checksum {actual} instead of {expected}" in str(error.value)
    assert server.url in str(error.value)
    left = [path.name for path in download_folder(wanted).iterdir() if path.name != ".lock"]
    assert left == []


@pytest.mark.usefixtures("nowhere")
def test_without_a_published_checksum_the_file_is_kept(server, watched):
    (path,) = run(watched, entry(server.url, ""))
    assert path.read_bytes() == CONTENT


@pytest.mark.usefixtures("nowhere")
def test_busy_servers_are_asked_again_after_a_while(server, watched):
    server.statuses = [503, 429]
    (path,) = run(watched, entry(server.url))
    assert path.read_bytes() == CONTENT
    assert watched.waits == [2.0, 4.0]


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (500, PATIENCE)])
def test_a_refusing_server_is_named_with_its_answer(server, watched, status, asked):
    server.statuses = [status] * 10
    with pytest.raises(DownloadFailed) as error:
        run(watched, entry(server.url))
    assert str(status) in str(error.value)
    assert server.url in str(error.value)
    assert "$TRILEMMA_DATA" in str(error.value)
    assert len(server.asked) == asked


@pytest.mark.usefixtures("nowhere")
def test_a_server_that_delivers_nothing_is_given_up_and_the_bytes_are_kept(server, watched):
    server.cut_after = 0
    wanted = entry(server.url)
    folder = download_folder(wanted)
    folder.mkdir(parents=True)
    (folder / "rows.bin.part").write_bytes(CONTENT[:1_000])
    with pytest.raises(DownloadFailed, match="1,000 bytes were kept") as error:
        run(watched, wanted)
    assert error.value.kept == 1_000
    assert len(server.asked) == PATIENCE


@pytest.mark.usefixtures("nowhere")
def test_the_next_address_is_tried(server, watched):
    gone = "http://127.0.0.1:9/rows.bin"
    (path,) = run(watched, entry(gone, MD5, server.url))
    assert path.read_bytes() == CONTENT
    with pytest.raises(DownloadFailed, match="the connection failed"):
        run(watched, replace(entry(gone), name="other"))


@pytest.mark.usefixtures("nowhere")
def test_two_fetches_at_once_download_once(server, watched):
    wanted = entry(server.url)
    threads = [threading.Thread(target=run, args=(watched, wanted)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1
    assert (download_folder(wanted) / "rows.bin").read_bytes() == CONTENT


@pytest.mark.usefixtures("nowhere")
def test_the_default_progress_is_a_bar_on_stderr(server, capsys):
    fetch(entry(server.url))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "rows.bin" in printed.err


def test_errors_survive_the_way_back_from_a_worker():
    import pickle

    failed = DownloadFailed("http://x/y", "gone", 7)
    again = pickle.loads(pickle.dumps(failed))
    assert (str(again), again.kept) == (str(failed), 7)
