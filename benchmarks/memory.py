"""How much memory HopSkipJump takes beyond inputs and outputs: `python -m benchmarks.memory`.

Each case runs in a process of its own, which says by how much its peak grew.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import torch

from benchmarks import setting
from benchmarks.records import Row, save, verdict
from trilemma.attacks.evasion import HopSkipJump, hop_skip_jump
from trilemma.core.generators import seeded
from trilemma.oracles import Local

MEGA = 2**20
FORGET = Path("/proc/self/clear_refs")  # 5 makes Linux forget the peak so far
SAMPLES = [(1_000, 100), (10_000, 100)]  # samples, queries each
QUERIES = [(64, 1_000), (64, 10_000)]
MORE = 8.0  # MB by which ten times the samples, or the queries, may take more
# glibc gives back what is freed above so many bytes; else it keeps some 20 MB, now more, now less
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "262144"}


def main() -> None:
    """Run the cases, or, in a process of its own, one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(_measured(*args.one)))
        return
    setting.natural()  # trained before anything is measured
    for cases in (SAMPLES, QUERIES):
        before, last = rows = [_in_its_own_process(*case) for case in cases]
        more = last["MB beyond"] - before["MB beyond"]
        last |= {"MB more": more, "bar": verdict(more, MORE, most=True)}
        save("memory", rows)


def _in_its_own_process(samples: int, queries: int) -> Row:
    command = [sys.executable, "-m", "benchmarks.memory", "--one", str(samples), str(queries)]
    surroundings = {**os.environ, **GIVEN_BACK}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measured(samples: int, queries: int) -> Row:
    torch.set_num_threads(1)
    oracle = Local(setting.natural(), classes=setting.CLASSES)
    x, y = (each.clone() for each in setting.images(samples, correct_for=None))  # read, not mapped
    config = HopSkipJump(norm=2, max_queries=queries)
    # what is allocated once: kernels, the measurement of the model's pace
    hop_skip_jump(oracle, x[:64], y[:64], HopSkipJump(norm=2, max_queries=300), rng=seeded(0))
    with suppress(OSError):
        FORGET.write_text("5")
    before = _peak()
    boundary = hop_skip_jump(oracle, x, y, config, rng=seeded(0))
    grown = _peak() - before
    values = [getattr(boundary, field.name) for field in fields(boundary)]
    outputs = sum(value.nbytes for value in values if isinstance(value, torch.Tensor))
    return {
        "case": f"{samples:,} samples, {queries:,} queries",
        "who": "trilemma",
        "inputs, MB": x.nbytes / MEGA,
        "outputs, MB": outputs / MEGA,
        "peak grew by, MB": grown / MEGA,
        "MB beyond": (grown - outputs) / MEGA,
    }


def _peak() -> int:
    """Bytes that were resident at most; Linux counts in kilobytes, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


if __name__ == "__main__":
    main()
