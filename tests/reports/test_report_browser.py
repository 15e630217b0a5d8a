"""The report opened in a real browser: drawn, readable on a phone, usable by everyone."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
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
    assert all(low + 1 >= high for low, high in zip(levels, levels[1:], strict=False))


@pytest.mark.parametrize("name", ["digits", "recorded", "incomplete", "hostile", "crowd"])
def test_page_in_a_browser(
    name: str, named_document: Callable[[str], Json], tmp_path: Path
) -> None:
    seen, complaints = probe(render_html(named_document(name)), tmp_path)
    assert complaints == []
    assert "failed" not in seen
    assert int(seen["drawn"]) == seen["plots"] == seen["svgs"] > 0
    assert seen["requests"] == []
    assert seen["injected"] == 0
    check_everywhere(seen)
    check_for_all(seen)


def test_the_readers_means(document: Json, tmp_path: Path) -> None:
    seen, _ = probe(render_html(document), tmp_path)
    assert seen["toggled"]["paper"] != seen["desktop"]["paper"]
    assert seen["toggled"]["ink"] != seen["desktop"]["ink"]
    assert seen["hidden"]["after"] < seen["hidden"]["before"]
    assert seen["hidden"]["pressed"] == "false"
    assert seen["logarithmic"]
    assert seen["print"] == {"theme": "light", "closed": 0}
    assert seen["afterPrint"] == {"paper": seen["toggled"]["paper"], "open": 0}


def test_dark_is_followed(document: Json, tmp_path: Path) -> None:
    seen, _ = probe(render_html(document), tmp_path, "--blink-settings=preferredColorScheme=0")
    assert seen["phone"]["paper"] == "rgb(16, 20, 26)"
    assert seen["phone"]["ink"] == ["rgb(232, 235, 240)"]
    check_everywhere(seen)


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ('<p style="width:2000px">wide</p>', lambda seen, _: seen["phone"]["overflow"] > 0),
        ('<p style="color:#888">faint</p>', lambda seen, _: seen["phone"]["faint"]),
        ('<img src="http://127.0.0.1:9/x.png">', lambda _, complaints: complaints),
        ("<script>document.title = 1</script>", lambda _, complaints: complaints),
    ],
)
def test_the_probe_sees_what_is_wrong(
    what: str, found: Callable[[Json, list[str]], object], document: Json, tmp_path: Path
) -> None:
    page = render_html(document).replace('<section id="glance"', f'{what}<section id="glance"', 1)
    assert found(*probe(page, tmp_path))
