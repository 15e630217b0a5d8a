"""Pictures of a model's inside: features in the plane, search paths (Li & Zhang 2021, fig. 12)."""

from collections.abc import Iterator, Sequence

from trilemma.experiments.reports.closer import EXPLAINED, PARTS, Side, quantity_of, sides
from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import (
    Figure,
    Json,
    Key,
    Table,
    axis,
    drawn_seed,
    layout,
    titled,
    titles,
)
from trilemma.experiments.reports.quantities import in_words
from trilemma.experiments.reports.regions import borders, names

KINDS = (  # member, right, name, ink, symbol, what it looks like, size
    (1, True, "Members", "--members", "circle", "dots", 6),
    (0, True, "Non-members", "--nonmembers", "circle-open", "rings", 6),
    (1, False, "Misclassified members", "--members", "x", "crosses", 9),
    (0, False, "Misclassified non-members", "--insecure", "x", "crosses", 9),
)
NORMS = {"L2": "L2", "Linf": "L∞"}


def features(document: Document) -> list[Figure]:
    """The rows' features, one plot a side."""
    return [_features(side) for side in sides(document) if "x" in side.entry.get("features", {})]


def unseen(document: Document) -> list[str]:
    """Why there is no picture of some features or paths, a sentence each."""
    said = [
        f"{side.name}: no picture of features: {side.entry['features']['not_evaluable']}."
        for side in sides(document)
        if "not_evaluable" in side.entry.get("features", {})
    ]
    said += [
        f"{title}, member {path['row']}: no path of {path['search']}: {path['not_evaluable']}."
        for _, title, _, path in _paths(document)
        if "not_evaluable" in path
    ]
    said += [
        f"{titles(document)[name]}: no search paths: {model['analysis']['pathless']}."
        for name, model in document["models"].items()
        if "pathless" in model.get("analysis", {})
    ]
    return said


def paths(document: Document) -> list[Figure]:
    """How each search came nearer to a member, one plot a search and member."""
    return [
        _path(document, f"path-{index}-{place}", title, path)
        for index, title, place, path in _paths(document)
        if "not_evaluable" not in path
    ]


def _features(side: Side) -> Figure:
    found = side.entry["features"]
    data: list[Json] = [borders(found["regions"])]
    keys = []
    for member, right, name, ink, symbol, looks, size in KINDS:
        trace = _dots(found, member, right, name, ink, symbol, size)
        if trace["x"]:
            said = f"{name} ({len(trace['x'])}, {looks})"
            keys.append(Key(name=said, ink=ink, traces=[len(data)]))
            data.append(trace)
    plain = {"showticklabels": False, "showgrid": False, "ticks": "", "range": [0, 1000]}
    return Figure(
        id=f"features-{side.id}",
        title=f"{side.name}: features before the last layer",
        words=_feature_words(side),
        data=data,
        layout=layout(
            xaxis=axis(**plain, mirror=True, showline=True, constrain="domain"),
            yaxis=axis(**plain, mirror=True, showline=True, scaleanchor="x", constrain="domain"),
            annotations=names(found["regions"]),
            margin={"l": 4, "r": 4, "t": 4, "b": 4},
        ),
        tables=[_feature_table(side)],
        legend=keys,
        height=440,
    )


def _dots(
    found: Json, member: int, right: bool, name: str, ink: str, symbol: str, size: int
) -> Json:
    rows = [
        place
        for place, (side, label, predicted) in enumerate(
            zip(found["member"], found["label"], found["predicted"], strict=True)
        )
        if side == member and (label == predicted) == right
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [found["x"][row] for row in rows],
        "y": [found["y"][row] for row in rows],
        "marker": {
            "symbol": symbol,
            "size": size,
            "color": ink,
            "opacity": 0.75 if right else 1.0,
            "line": {"width": 1.3 if symbol.endswith("open") else 0, "color": ink},
        },
        "customdata": [[found["label"][row], found["predicted"][row]] for row in rows],
        "hovertemplate": "label %{customdata[0]}, taken for %{customdata[1]}"
        "<extra>%{fullData.name}</extra>",
    }


def _feature_words(side: Side) -> str:
    found, mean = side.entry["features"], side.entry["distance"]
    counts = [sum(found["member"]), len(found["member"]) - sum(found["member"])]
    kinds = {part: quantity_of(side.which, "distance", part) for part in PARTS}
    said = "; ".join(f"{PARTS[part]} {in_words(mean[part], kinds[part])}" for part in PARTS)
    return (
        f"{counts[0]} members and {counts[1]} non-members{side.of_seed('features')}:"
        f" {found['features']} features by t-SNE. Lines are where the last layer's label changes,"
        f" judged by {found['random']:,} random points between rows; numbers are labels. Lengths in"
        " the picture are not to scale. Distance to another label in the features themselves:"
        f" {said}.{EXPLAINED[side.which]}"
    )


def _feature_table(side: Side) -> Table:
    found = side.entry["features"]
    rows = list(zip(found["member"], found["label"], found["predicted"], strict=True))
    lines = []
    for label in sorted(set(found["label"])):
        counts = [
            sum(1 for m, y, p in rows if (m, y) == (member, label) and (p == label) == right)
            for member in (1, 0)
            for right in (True, False)
        ]
        lines.append([str(label), *map(str, counts)])
    return Table(
        caption=f"{side.name}: rows in the picture, by label",
        columns=["Label", "Members", "misclassified", "Non-members", "misclassified"],
        rows=lines,
    )


def _paths(document: Document) -> Iterator[tuple[int, str, int, Json]]:
    """(index of the model, its title, place among its paths, path)."""
    for index, (name, model) in enumerate(document["models"].items()):
        for place, path in enumerate(model.get("analysis", {}).get("paths", [])):
            yield index, titles(document)[name], place, path


def _path(document: Document, id_: str, title: str, path: Json) -> Figure:
    norm = NORMS[path["norm"]]
    plane, reach = path["plane"], path["distance"][-1]
    ball = {
        "type": "circle",
        **{"x0": -reach, "x1": reach, "y0": -reach, "y1": reach},
        "line": {"color": "--members", "dash": "dot", "width": 2},
    }
    seed = drawn_seed(document, path)
    name = f"{title}, member {path['row']}: {path['search']}"
    return Figure(
        id=id_,
        title=name,
        words=_path_words(path, norm, "" if seed is None else f" (seed {seed})"),
        data=[borders(plane), *_walk(path)],
        layout=layout(
            xaxis=axis(
                title=titled("Along: towards the last point"),
                range=plane["x"],
                showgrid=False,
                constrain="domain",
                nticks=6,
            ),
            yaxis=axis(
                title=titled("Across"),
                range=plane["y"],
                showgrid=False,
                scaleanchor="x",
                constrain="domain",
                nticks=6,
            ),
            shapes=[ball] if path["norm"] == "L2" else [],
            annotations=names(plane),
        ),
        tables=[_path_table(name, path, norm)],
        height=420,
    )


def _walk(path: Json) -> list[Json]:
    steps = zip(path["queries"], path["distance"], path["aside"], strict=True)
    return [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "the search",
            "x": path["along"],
            "y": path["across"],
            "line": {"color": "--nonmembers", "width": 2},
            "marker": {"size": 6, "color": "--nonmembers"},
            "customdata": [list(step) for step in steps],
            "hovertemplate": "query %{customdata[0]:,}: distance %{customdata[1]:.4g},"
            " %{customdata[2]:.2g} aside of the plane<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "the member",
            "x": [0],
            "y": [0],
            "marker": {"size": 13, "symbol": "star", "color": "--members"},
            "hovertemplate": f"the member, label {path['label']}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "the last point",
            "x": path["along"][-1:],
            "y": path["across"][-1:],
            "marker": {"size": 11, "symbol": "diamond", "color": "--insecure"},
            "hovertemplate": f"the last point, distance {path['distance'][-1]:.4g}<extra></extra>",
        },
    ]


def _path_words(path: Json, norm: str, seed: str) -> str:
    first, last = path["distance"][0], path["distance"][-1]
    said = (
        f"From the first point of another label, at {norm} distance {first:.4g}, to the last"
        f" (diamond) at {last:.4g}, in {path['spent']:,} queries{seed}; the star is the member, of"
        f" label {path['label']}. Lines are where the model's label changes in this plane."
    )
    if path["norm"] == "L2":
        said += " The dotted circle is the ball that the search found: it ends where both touch."
    return f"{said} Points before the last lie up to {max(path['aside']):.2g} aside of the plane."


def _path_table(caption: str, path: Json, norm: str) -> Table:
    columns = ("distance", "along", "across", "aside")
    every: Sequence[Sequence[float]] = [path[name] for name in columns]
    return Table(
        caption=caption,
        columns=["Query", f"{norm} distance", "along", "across", "aside of the plane"],
        rows=[
            [f"{query:,}", *(f"{each:.4f}" for each in step)]
            for query, *step in zip(path["queries"], *every, strict=True)
        ],
    )
