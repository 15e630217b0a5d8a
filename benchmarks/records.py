"""Results as JSON beside this file, and as tables."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
VERSIONS = (
    *("torch", "numpy", "foolbox", "adversarial-robustness-toolbox"),
    *("torchattacks", "adv-lib", "pyautoattack"),
)
Row = dict[str, Any]


def machine() -> dict[str, str]:
    """What was measured on; neither names nor paths nor dates."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    here = {
        "processor": names[0] if names else platform.machine(),
        "logical processors": str(len(names)) if names else "unknown",
        "system": platform.system(),
        "python": platform.python_version(),
    }
    for package in VERSIONS:
        try:
            here[package] = version(package)
        except PackageNotFoundError:
            continue
    return here


def save(name: str, rows: Sequence[Row], keys: Sequence[str] = ("case", "who")) -> None:
    """Print the rows and put them into results/<name>.json.

    Rows there that have the same keys are replaced, so that a table can be made piece by piece;
    all of them are dropped if they came from another machine or other versions.
    """
    print(table(rows))
    path = RESULTS / f"{name}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    here = machine()
    old = kept["rows"] if kept.get("machine") == here else []
    new = {tuple(row[key] for key in keys): row for row in [*old, *rows]}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": here, "rows": list(new.values())}, indent=1) + "\n")


def table(rows: Sequence[Row]) -> str:
    """Markdown, one column for each key that some row has."""
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "bar"]
    columns += ["bar"] * any("bar" in row for row in rows)
    cells = [columns, *([_cell(row.get(key)) for key in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [_line(line, widths) for line in cells]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths), *lines[1:]])


def verdict(value: float, bar: float, *, most: bool) -> str:
    """Whether a bar is met: `value` at most, or at least, `bar`."""
    met = value <= bar if most else value >= bar
    return f"{'<=' if most else '>='} {bar:g}: {'met' if met else 'missed'}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(each)}" for key, each in value.items())
    return str(value)
