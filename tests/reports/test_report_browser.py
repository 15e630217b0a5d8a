"""The report opened in a real browser: drawn, readable on a phone, usable by everyone."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from trilemma.experiments.reports import render_html

Json = dict[str, Any]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PROBE = Path(__file__).with_name("probe.html").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


def probe(page: str, folder: Path, *options: str) -> tuple[Json, list[str]]:
    """What the probe saw in `page`, and what the browser complained about."""
    (folder / "report.html").write_text(page, encoding="utf-8")
    (folder / "probe.html").write_text(PROBE.replace("PAGE", "report.html"), encoding="utf-8")
    command = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1400,4000",
        "--virtual-time-budget=60000",
        *options,
        "--dump-dom",
        (folder / "probe.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    result: Json = json.loads(html.unescape(found[1]))
    return result, complaints


def check_everywhere(seen: Json) -> None:
    for view in ("phone", "phoneOpen", "desktop", "toggled"):
        assert seen[view]["overflow"] <= 0, (view, seen[view])
        assert seen[view]["wide"] == [], view
        assert seen[view]["faint"] == [], view
        assert seen[view]["cut"] == 0, view


def check_for_all(seen: Json) -> None:
    assert seen["named"] == seen["plots"]
    assert seen["tables"] >= seen["plots"]
    assert seen["unnamed"] == seen["unreachable"] == 0
    assert seen["targets"] == []
    assert len(seen["ids"]) == len(set(seen["ids"]))
    levels = seen["headings"]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(low + 1 >= high for low, high in pairwise(levels))


def check_page(seen: Json, complaints: list[str]) -> None:
    assert complaints == []
    assert "failed" not in seen
    assert int(seen["drawn"]) == seen["plots"] == seen["svgs"] > 0
    assert seen["requests"] == []
    assert seen["injected"] == 0
    check_everywhere(seen)
    check_for_all(seen)


@pytest.mark.parametrize(
    "name", ["incomplete", "hostile", "crowd", "thorough", "retrained", "proven", "looked"]
)
def test_page_in_a_browser(
    name: str, named_document: Callable[[str], Json], tmp_path: Path
) -> None:
    check_page(*probe(render_html(named_document(name)), tmp_path))


def test_what_a_reader_can_do(document: Json, tmp_path: Path) -> None:
    seen, complaints = probe(render_html(document), tmp_path)
    check_page(seen, complaints)
    assert seen["toggled"]["paper"] != seen["desktop"]["paper"]
    assert seen["toggled"]["ink"] != seen["desktop"]["ink"]
    assert seen["hidden"]["after"] < seen["hidden"]["before"]
    assert seen["hidden"]["pressed"] == "false"
    assert seen["logarithmic"]
    assert seen["print"] == {"theme": "light", "closed": 0}
    assert seen["afterPrint"] == {"paper": seen["toggled"]["paper"], "open": 0}


def test_a_dark_system_gets_a_dark_page(
    named_document: Callable[[str], Json], tmp_path: Path
) -> None:
    dark = "--blink-settings=preferredColorScheme=0"
    seen, complaints = probe(render_html(named_document("recorded")), tmp_path, dark)
    assert seen["phone"]["paper"] == "rgb(16, 20, 26)"
    assert seen["phone"]["ink"] == ["rgb(232, 235, 240)"]
    assert "hidden" in seen
    check_page(seen, complaints)


def test_the_probe_sees_what_is_wrong(document: Json, tmp_path: Path) -> None:
    wrong = (
        '<p style="width:2000px">wide</p><p style="color:#888">faint</p><button></button>'
        '<img src="http://127.0.0.1:9/x.png"><script>document.title = 1</script><a href="#x">x</a>'
    )
    page = render_html(document).replace('<section id="glance"', f'{wrong}<section id="glance"', 1)
    seen, complaints = probe(page, tmp_path)
    assert seen["phone"]["overflow"] > 0
    assert seen["phone"]["wide"]
    assert seen["phone"]["faint"] == ["faint: 3.31"]
    assert seen["unnamed"] == 1
    assert seen["targets"] == ["#x"]
    assert seen["injected"] == 2
    assert len(complaints) == 2, complaints  # neither the image nor the script was let in
