"""Who was in the training data: members, non-members, shadow and auxiliary rows of a pool.

Every part is a block of one stratified order of its pool, so parts are disjoint by construction
and each has the pool's class shares. In a pool that serves all parts the layout is

    non-members | auxiliary | members ->        <- validation | shadow

so with one seed the members of a smaller target are among those of a larger one, and neither
they nor the non-members move when the shadow part or the validation part grows.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.duplicates import Duplicates, count, first_occurrences
from trilemma.data.loaded import TEST, TRAIN, Loaded
from trilemma.data.presets import Pools, Preset, Sizes
from trilemma.data.sets import FREE, Data, Files, Sampled
from trilemma.data.stratified import stratified_order

Index = NDArray[np.int64]
NONE: Index = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a reader of the results must know about a split.

    Args:
        rule: where the sizes come from.
        sizes: rows of each part.
        notes: departures from the published split, and dropped rows.
        duplicates: equal rows, counted.
    """

    rule: str
    sizes: dict[str, int]
    notes: tuple[str, ...]
    duplicates: Duplicates

    def to_json(self) -> dict[str, Any]:
        """Plain values for records."""
        plain = {"rule": self.rule, "sizes": dict(self.sizes), "notes": list(self.notes)}
        return {**plain, "duplicates": self.duplicates.to_json()}


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Rows of each part, as indices into the pool.

    Args:
        members: target-train.
        nonmembers: target-test.
        shadow: for shadow models; disjoint from all others.
        auxiliary: an attacker's rows; disjoint from all others.
        partial_seed: some of the members, declared as known to the attacker.
        victim_training_rows: some of the members, declared to join an extraction set.
        validation: to decide which epoch's weights are kept; disjoint from all others.
        report: sizes, departures, duplicates.
    """

    members: Index
    nonmembers: Index
    shadow: Index
    auxiliary: Index
    partial_seed: Index
    victim_training_rows: Index
    validation: Index
    report: Report


def split(loaded: Loaded, config: Data, seed: int) -> Splits:
    """Take the declared parts out of a pool.

    Args:
        loaded: what `load(config)` returned.
        config: the declared sizes or preset; for the user's own files the parts are theirs.
        seed: >= 0; the same seed gives the same rows on every platform.

    Raises:
        BadInput: more rows are asked for than there are; a class has too few rows; the members
            have fewer than two classes; non-members that are members and not allowed to be.
    """
    if isinstance(config, Files):
        return _declared(loaded, config)
    kept = first_occurrences(loaded.row_hashes) if config.drop_duplicates else _all(loaded)
    preset = config.published()
    pools = preset.pools if preset else _pools(loaded, config)
    if pools is not Pools.ALL and loaded.part is None:
        pools = Pools.ALL
    orders = _orders(loaded, kept, pools, seed)
    sizes, rule, notes = _sizes(config, preset, [len(order) for order in orders])
    if preset and preset.per_class is not None:
        parts = _per_class(loaded, orders[0], preset.per_class, sizes.validation)
    else:
        parts = _blocks(orders, sizes, loaded.info.name)
    parts |= _overlaps(parts["members"], sizes, seed)
    return _checked(loaded, parts, rule, notes, dropped=len(loaded) - len(kept))


def _all(loaded: Loaded) -> Index:
    return np.arange(len(loaded), dtype=np.int64)


def _pools(loaded: Loaded, config: Sampled) -> Pools:
    return Pools.ALL if config.pooled or loaded.part is None else Pools.OFFICIAL


def _orders(loaded: Loaded, kept: Index, pools: Pools, seed: int) -> list[Index]:
    """One order for all parts, or two: of the training part and of the test part."""
    if loaded.part is None or pools is Pools.ALL:
        return [stratified_order(loaded.y, kept, seed)]
    part = loaded.part[kept]
    training = stratified_order(loaded.y, kept[part == TRAIN], seed)
    if pools is Pools.TRAINING:
        return [training]
    return [training, stratified_order(loaded.y, kept[part == TEST], seed, stream=1)]


def _sizes(
    config: Sampled, preset: Preset | None, rows: list[int]
) -> tuple[Sizes, str, tuple[str, ...]]:
    if preset is None:
        return config.sizes(), "counts", ()
    sizes, note = (preset.sizes, "") if len(rows) > 1 else preset.fit(rows[0])
    given = {name: getattr(config, name) for name in FREE if getattr(config, name)}
    sizes = replace(sizes, **given)
    notes = [note] if note else []
    if config.validation:
        notes.append(
            f"{config.validation:,} rows for validation, which the published split has not"
        )
    return sizes, f"{config.preset}: {preset.source}", tuple(notes)


def _blocks(orders: list[Index], sizes: Sizes, name: str) -> dict[str, Index]:
    if len(orders) == 1:
        return _one_pool(orders[0], sizes, name)
    return _two_pools(orders[0], orders[1], sizes, name)


def _one_pool(order: Index, sizes: Sizes, name: str) -> dict[str, Index]:
    last = len(order) - sizes.shadow
    left = max(last - sizes.validation - sizes.auxiliary, 0)
    members, nonmembers = sizes.members, sizes.nonmembers
    if members is None:
        members = left // 2 if nonmembers is None else max(left - nonmembers, 0)
    if nonmembers is None:
        nonmembers = left // 2 if sizes.members is None else max(left - members, 0)
    asked = {"members": members, "nonmembers": nonmembers}
    asked |= {"shadow": sizes.shadow, "auxiliary": sizes.auxiliary}
    asked |= {"validation": sizes.validation}
    _enough(name, "rows", len(order), asked, "Ask for fewer")
    start = nonmembers + sizes.auxiliary
    return {
        "nonmembers": order[:nonmembers],
        "auxiliary": order[nonmembers:start],
        "members": order[start : start + members],
        "validation": order[last - sizes.validation : last],
        "shadow": order[last:],
    }


def _two_pools(training: Index, test: Index, sizes: Sizes, name: str) -> dict[str, Index]:
    members, nonmembers = sizes.members, sizes.nonmembers
    last = len(training) - sizes.shadow
    if members is None:
        members = max(last - sizes.validation, 0)
    if nonmembers is None:
        nonmembers = max(len(test) - sizes.auxiliary, 0)
    fix = "Ask for fewer, or set pooled: true to split training and test rows together"
    asked = {"members": members, "shadow": sizes.shadow, "validation": sizes.validation}
    _enough(name, "training rows", len(training), asked, fix)
    asked = {"nonmembers": nonmembers, "auxiliary": sizes.auxiliary}
    _enough(name, "test rows", len(test), asked, fix)
    return {
        "members": training[:members],
        "validation": training[last - sizes.validation : last],
        "shadow": training[last:],
        "nonmembers": test[:nonmembers],
        "auxiliary": test[len(test) - sizes.auxiliary :],
    }


def _enough(name: str, what: str, rows: int, asked: dict[str, int], fix: str) -> None:
    total = sum(asked.values())
    if total > rows:
        parts = " + ".join(f"{size:,} {part}" for part, size in asked.items() if size)
        raise BadInput(name, f"has {rows:,} {what}, but {parts} = {total:,} are asked for", fix)


def _per_class(loaded: Loaded, order: Index, per_class: int, validation: int) -> dict[str, Index]:
    """The first `per_class` rows of each class are members, all others non-members.

    Of these, the last `validation` rows are for validation instead.
    """
    labels = loaded.y[order]
    rank = np.empty(len(order), dtype=np.int64)
    for label in range(loaded.classes):
        rows = np.flatnonzero(labels == label)
        if len(rows) < per_class:
            name = loaded.class_names[label]
            problem = f"class {name!r} has {len(rows)} rows, but {per_class} a class are members"
            raise BadInput(loaded.info.name, problem, "Use the whole data set")
        rank[rows] = np.arange(len(rows))
    chosen = rank < per_class
    others = order[~chosen]
    asked = {"validation": validation}
    _enough(loaded.info.name, "rows that are no members", len(others), asked, "Ask for fewer")
    return {
        "members": order[chosen],
        "nonmembers": others[: len(others) - validation],
        "validation": others[len(others) - validation :],
        "shadow": NONE,
        "auxiliary": NONE,
    }


def _overlaps(members: Index, sizes: Sizes, seed: int) -> dict[str, Index]:
    """Declared overlaps: some of the members, drawn anew for each of the two."""
    drawn = {}
    for offset, name in enumerate(_DECLARED, start=1):
        n = getattr(sizes, name)
        if n > len(members):
            problem = f"asks for {n:,} of the members, of which there are {len(members):,}"
            raise BadInput(name, problem, "Ask for fewer")
        keys = np.random.PCG64([seed, offset]).random_raw(len(members))
        drawn[name] = members[np.argsort(keys, kind="stable")[:n]]
    return drawn


def _declared(loaded: Loaded, config: Files) -> Splits:
    """The user's own parts; overlaps are counted, and refused unless they are allowed."""
    parts = {name: loaded.declared.get(name, NONE) for name in _PARTS}
    hashes = {name: loaded.row_hashes[index] for name, index in parts.items()}
    judged = np.concatenate([hashes["members"], hashes["nonmembers"]])
    overlaps = [
        (config.nonmembers, "non-members are members", hashes["nonmembers"], hashes["members"]),
        (config.validation, "validation rows are (non-)members", hashes["validation"], judged),
    ]
    notes = []
    for path, said, rows, others in overlaps:
        shared = int(np.isin(rows, others).sum())
        if shared and not (config.allow_overlap or config.drop_duplicates):
            raise BadInput(
                str(path),
                f"{shared:,} of {len(rows):,} {said} as well",
                "Take them out (drop_duplicates: true does), or set allow_overlap: true",
            )
        notes += [f"{shared:,} {said} as well"] if shared else []
    before = sum(map(len, parts.values()))
    if config.drop_duplicates:
        kept = first_occurrences(loaded.row_hashes)
        parts = {name: index[np.isin(index, kept)] for name, index in parts.items()}
    dropped = before - sum(map(len, parts.values()))
    kept_notes = () if dropped else tuple(notes)
    return _checked(loaded, parts, "the user's own files", kept_notes, dropped=dropped)


_PARTS = tuple(each.name for each in fields(Splits) if each.name != "report")
_DECLARED = ("partial_seed", "victim_training_rows")  # some of the members


def _checked(
    loaded: Loaded, parts: dict[str, Index], rule: str, notes: tuple[str, ...], *, dropped: int
) -> Splits:
    if len(parts["nonmembers"]) == 0:
        raise BadInput(loaded.info.name, "leaves no rows for nonmembers", "Ask for fewer members")
    present = np.unique(loaded.y[parts["members"]])
    if len(present) < 2:
        names = ", ".join(loaded.class_names[label] for label in present) or "none"
        problem = f"the {len(parts['members'])} members have fewer than 2 classes ({names})"
        raise BadInput(loaded.info.name, problem, "Membership needs a classifier: give 2 or more")
    if dropped:
        notes = (*notes, f"{dropped:,} rows that repeat an earlier row were dropped")
    named = {name: parts[name] for name in _PARTS if len(parts[name])}
    disjoint = {name: index for name, index in named.items() if name not in _DECLARED}
    duplicates = count(loaded.row_hashes, disjoint, dropped=dropped)
    sizes = {name: len(index) for name, index in named.items()}
    report = Report(rule=rule, sizes=sizes, notes=notes, duplicates=duplicates)
    return Splits(**{name: parts[name] for name in _PARTS}, report=report)
