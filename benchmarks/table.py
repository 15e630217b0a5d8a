"""Writes the tables of results/*.json into README.md: `python -m benchmarks.table`."""

import json
import re
from pathlib import Path

from benchmarks.records import RESULTS, table

README = Path(__file__).parent / "README.md"
MARKED = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Between `<!-- name -->` and `<!-- end -->` goes the table of results/name.json."""
    README.write_text(MARKED.sub(_filled, README.read_text()))


def _filled(found: re.Match[str]) -> str:
    path = RESULTS / f"{found[2]}.json"
    if not path.exists():
        return f"{found[1]}\nNot measured yet.\n\n{found[3]}"
    results = json.loads(path.read_text())
    where = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    return f"{found[1]}\n{table(results['rows'])}\n\nMeasured on: {where}.\n\n{found[3]}"


if __name__ == "__main__":
    main()
