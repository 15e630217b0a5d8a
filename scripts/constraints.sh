#!/usr/bin/env bash
# Writes constraints.txt: the newest releases that work together, PyTorch held where it is.
# Usage: scripts/constraints.sh [python]. Read the diff and run the gate before committing it.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-python3}
torch=${TORCH:-2.13.0}
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

"$python" -m venv "$fresh/venv"
"$fresh/venv/bin/python" -m pip install --quiet --upgrade pip
"$fresh/venv/bin/python" -m pip install --quiet "torch==$torch" hatchling editables '.[all]' --group dev

{
  echo "# The releases that the gate was last run with; \`make constraints\` resolves them anew."
  # A local version (1.0+cpu) names one build of a release; the release is what is pinned.
  "$fresh/venv/bin/python" -m pip freeze --all --exclude trilemma | sed 's/+[A-Za-z0-9.]*$//'
} >constraints.txt
