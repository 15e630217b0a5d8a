"""Reading a declared experiment: a YAML file, or what the command line says. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trilemma.core.errors import BadInput

PATHS = ("predictions", "weights", "members", "nonmembers", "shadow", "auxiliary", "validation")
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
        return str((folder / Path(value).expanduser()).resolve())
    return value


class _Strict(yaml.SafeLoader):
    """YAML's safe loader that refuses a key written twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for name, _ in node.value:
            if name.tag != "tag:yaml.org,2002:merge":
                if name.tag != "tag:yaml.org,2002:str":
                    raise yaml.YAMLError(
                        f"key {name.value} in line {name.start_mark.line + 1} is not text to YAML;"
                        f" write '{name.value}' in quotes"
                    )
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
    models = {
        name: {"predictions": _absolute(path)} for name, path in zip(chosen, paths, strict=True)
    }
    return {"name": "-".join(chosen), "models": models}


@dataclass(frozen=True, kw_only=True)
class Own:
    """A user's own model as the command line describes it.

    Args:
        factory: `package.module:factory`.
        weights: a safetensors file; None where the factory returns a trained model.
        members, nonmembers: files or folders of rows.
        eps: L_inf budget of the adversarial inputs; None leaves them out.
        classes: how many the model tells apart, where the labels do not name them all.
        seed: of the attacks' randomness.
    """

    factory: str | None = None
    weights: Path | None = None
    members: Path | None = None
    nonmembers: Path | None = None
    eps: str | None = None
    classes: int | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Thorough:
    """What the command line says of AutoAttack.

    Args:
        asked: it is to be run, whatever the declared experiment says.
        rows: at most so many of each part; None leaves it to the declaration. A number asks, too.
    """

    asked: bool = False
    rows: int | None = None

    def table(self) -> dict[str, Any]:
        """The keys of an experiment that say so."""
        rows = {} if self.rows is None else {"thorough_rows": self.rows}
        return {"thorough": True, **rows} if self.asked or rows else {}


USUAL = Thorough()


def choose(
    file: Path | None,
    own: Own,
    predictions: list[Path],
    names: list[str],
    thorough: Thorough = USUAL,
) -> dict[str, Any]:
    """The table of the one form of audit that was asked for.

    Args:
        file: a declared experiment.
        own: a user's model; only its `factory` asks for an audit of it.
        predictions: files of recorded predictions.
        names: for the models.
        thorough: whether AutoAttack measures robustness, too.

    Raises:
        BadInput: none or several forms, or an option that belongs to another form.
    """
    forms = {"FILE": file, "--model": own.factory, "--predictions": predictions}
    given = [form for form, value in forms.items() if value]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise BadInput("audit", f"got {found}", f"Give one of {', '.join(forms)}")
    if own.factory is not None:
        return from_model(own, names) | thorough.table()
    foreign = [name for name, value in vars(own).items() if value is not None]
    if file is not None and names:
        foreign.append("name")
    if predictions and thorough != USUAL:
        foreign.append("thorough")
    if foreign:
        raise BadInput(f"--{foreign[0]}", f"does not apply to {given[0]}", "See --help")
    if file is not None:
        return read(file) | thorough.table()
    return from_predictions(predictions, names)


def from_model(own: Own, names: list[str]) -> dict[str, Any]:
    """The table of an audit of a user's own model.

    Raises:
        BadInput: members or non-members are missing, or there is more than one name.
    """
    if own.members is None or own.nonmembers is None:
        option = "--members" if own.members is None else "--nonmembers"
        raise BadInput(option, "is missing", "An audit needs rows of both kinds")
    if len(names) > 1:
        raise BadInput("--name", f"{len(names)} names for one model", "Give one")
    factory = str(own.factory)
    name = names[0] if names else own.weights.stem if own.weights else factory.replace(":", ".")
    attacks: dict[str, Any] = {"confidence": {"kind": "Confidence"}}
    if own.eps is not None:
        ball = {"kind": "Linf", "radius": own.eps}
        attacks["confidence_adversarial"] = {
            "kind": "AdversarialConfidence",
            "attack": {"kind": "PGD", "ball": ball, "steps": 20},
        }
    data = {"members": _absolute(own.members), "nonmembers": _absolute(own.nonmembers)}
    classes = {} if own.classes is None else {"classes": own.classes}
    weights = {"weights": _absolute(own.weights)} if own.weights else {}
    return {
        "name": name,
        "data": {"kind": "Files", **data, **classes},
        "models": {name: {"factory": factory, **weights}},
        "attacks": attacks,
        "seeds": [own.seed or 0],
    }


def portable(table: Any, key: str = "") -> Any:
    """The table for a report that others read: files by their names, not by where they lie."""
    if isinstance(table, dict):
        return {name: portable(value, name) for name, value in table.items()}
    if isinstance(table, list):
        return [portable(value) for value in table]
    return Path(table).name if key in PATHS and isinstance(table, str) else table


def _absolute(path: Path) -> str:
    return str(path.expanduser().resolve())
