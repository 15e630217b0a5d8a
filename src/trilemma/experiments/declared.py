"""Reading a declared experiment: a YAML file, or what the command line says. No torch."""

from pathlib import Path
from typing import Any

import yaml

from trilemma.core.errors import BadInput

PATHS = ("predictions", "weights", "members", "nonmembers", "shadow", "auxiliary")
DEMO = Path(__file__).with_name("demo.yaml")


def read(path: Path) -> dict[str, Any]:
    """The table of a YAML file, its relative paths resolved against the file's own folder.

    Raises:
        BadInput: no such file, not YAML, not a mapping, or a key written twice.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise BadInput(str(path), what, "Give an experiment as a YAML file")
    try:
        table = yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict)  # noqa: S506  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(str(path), f"is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(table, dict):
        raise BadInput(str(path), f"holds {type(table).__name__}, not a mapping of keys")
    table.setdefault("name", path.stem)
    resolved: dict[str, Any] = _resolve(table, path.parent.resolve())
    return resolved


def _resolve(value: Any, folder: Path, key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _resolve(v, folder, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolve(v, folder) for v in value]
    if key in PATHS and isinstance(value, str):
        return str((folder / value).resolve())
    return value


class _Strict(yaml.SafeLoader):
    """YAML's safe loader that refuses a key written twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for name, _ in node.value:
            if name.tag != "tag:yaml.org,2002:merge":
                spelt = str(name.value)
                if spelt in seen:
                    line = name.start_mark.line + 1
                    raise yaml.YAMLError(f"key {spelt!r} stands twice, again in line {line}")
                seen.add(spelt)
        return super().construct_mapping(node, deep)


def from_predictions(paths: list[Path], names: list[str]) -> dict[str, Any]:
    """The table of an audit of recorded predictions.

    Args:
        paths: one file for each model.
        names: one name for each, or none: then the files' stems.

    Raises:
        BadInput: as many names as files are needed, all different.
    """
    if names and len(names) != len(paths):
        raise BadInput("--name", f"{len(names)} names for {len(paths)} models", "Give one for each")
    chosen = names or [path.stem for path in paths]
    twice = sorted({name for name in chosen if chosen.count(name) > 1})
    if twice:
        raise BadInput("--name", f"{', '.join(twice)} names two models", "Name each by --name")
    models = {name: {"predictions": str(path)} for name, path in zip(chosen, paths, strict=True)}
    return {"name": "-".join(chosen), "models": models}


def from_model(
    factory: str,
    weights: Path | None,
    *,
    members: Path | None,
    nonmembers: Path | None,
    eps: str | None,
    names: list[str],
    seed: int,
) -> dict[str, Any]:
    """The table of an audit of a user's own model.

    Args:
        eps: L_inf budget of the adversarial inputs; None leaves them out.

    Raises:
        BadInput: members or non-members are missing, or there is more than one name.
    """
    for option, path in (("--members", members), ("--nonmembers", nonmembers)):
        if path is None:
            raise BadInput(option, "is missing", "An audit needs rows of both kinds")
    if len(names) > 1:
        raise BadInput("--name", f"{len(names)} names for one model", "Give one")
    name = names[0] if names else (weights.stem if weights else factory.replace(":", "."))
    attacks: dict[str, Any] = {"confidence": {"kind": "Confidence"}}
    if eps is not None:
        ball = {"kind": "Linf", "radius": eps}
        attacks["confidence_adversarial"] = {
            "kind": "AdversarialConfidence",
            "attack": {"kind": "PGD", "ball": ball, "steps": 20},
        }
    own = {"factory": factory} | ({"weights": str(weights)} if weights else {})
    return {
        "name": name,
        "data": {"kind": "Files", "members": str(members), "nonmembers": str(nonmembers)},
        "models": {name: own},
        "attacks": attacks,
        "seeds": [seed],
    }
