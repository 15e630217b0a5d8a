"""Tables: the three security sets, bank customers, insurance; CSV as published, or Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.loaded import TEST, TRAIN
from trilemma.data.readers.archives import walk
from trilemma.data.readers.decoded import Decoded, parts

MALICIOUS = ("benign", "malicious")
SECURITY_FEATURES = {
    "cryptojacker": (
        "websocket wasm hash_function webworkers messageloop_load postmessage_load"
        " parallel_functions"
    ),
    "social_honeypot": (
        "LenScreenName LenProfileDescription AgeDays NumFollowings NumFollowers"
        " Ratio_Following_Followers StdFollowing ChangeRateFollowing NumTweets NumDailyTweets"
        " TweetLinkPercent TweetUniqLinkPercent TweetAtPercent TweetUniqAtPercent"
        " PairwiseTweetSimilarity"
    ),
    "twitter_spam_url": (
        "EntryURLid AvgURLid ChainWeight CCsize CCdensity MinRCLen AvgLdURLDom AvgURLDom GeoDist"
        " CntContinent CntCountry CntIP CntDomain CntTLD ChainLen EntryURLDist CntInitURL"
        " CntInitURLDom CntLdURL AvgIPperURL AvgIPperLdURL at_cnt hashtag_cnt user_tweetcnt"
        " user_percent"
    ),
}
CHURNERS_NOT_FEATURES = ("label", "clientnum", "attrition_flag")
ATTRITED, STAYED = "Attrited Customer", "Existing Customer"
REGIONS = ("northwest", "southeast", "southwest")  # northeast is the level left out


def security_csv(paths: tuple[Path, ...], name: str) -> Decoded:
    """Training and test CSV without a header, the label first, zipped or not."""
    features = tuple(SECURITY_FEATURES[name].split())
    train, test = (_numbers(path, 1 + len(features)) for path in paths)
    both = np.concatenate([train, test])
    return _security(both, features, parts(len(train), len(test)))


def security_parquet(path: Path) -> Decoded:
    """Columns `split`, `label`, then the features."""
    table = _parquet(path)
    features = tuple(name for name in table.column_names if name not in ("split", "label"))
    columns = [_column(table, name) for name in ("label", *features)]
    test = np.array(table.column("split").to_pylist()) == "test"
    part = np.where(test, TEST, TRAIN).astype(np.int8)
    order = np.argsort(part, kind="stable")
    return _security(np.stack(columns, axis=1)[order], features, part[order])


def spam_url_csv(path: Path) -> Decoded:
    """The official test CSV, which is all there is: no parts."""
    features = tuple(SECURITY_FEATURES["twitter_spam_url"].split())
    return _security(_numbers(path, 1 + len(features)), features, None)


def spam_url_parquet(path: Path) -> Decoded:
    """The same rows; the file's own split column is not official and is left out."""
    table = _parquet(path)
    features = tuple(name for name in table.column_names if name not in ("split", "label"))
    columns = [_column(table, name) for name in ("label", *features)]
    return _security(np.stack(columns, axis=1), features, None)


def churners_csv(path: Path) -> Decoded:
    """Kaggle's BankChurners.csv."""
    return _churners(path, _csv(path))


def churners_parquet(path: Path) -> Decoded:
    """The same table without the two columns of a classifier's outputs."""
    return _churners(path, _parquet(path))


def insurance_csv(path: Path, threshold: float) -> Decoded:
    """The published insurance.csv."""
    return _insurance(path, _csv(path), threshold)


def insurance_parquet(path: Path, threshold: float) -> Decoded:
    """The same table."""
    return _insurance(path, _parquet(path), threshold)


def _security(
    values: NDArray[np.float64], features: tuple[str, ...], part: NDArray[np.int8] | None
) -> Decoded:
    """Label, then features. float32 holds the integers up to 2^24 exactly, rounds larger ones."""
    return Decoded(
        stored=values[:, 1:].astype(np.float32),
        y=values[:, 0].astype(np.int64),
        class_names=MALICIOUS,
        divisor=1.0,
        part=part,
        feature_names=features,
    )


def _churners(path: Path, table: Any) -> Decoded:
    """19 attributes without the customer's number; categories as ordinal integers by name.

    So Qin et al. (2023), section 3.1; the order of the categories is not stated there.
    """
    _needs(path, table, ("Attrition_Flag", "Customer_Age", "Avg_Utilization_Ratio"))
    features = tuple(
        name
        for name in table.column_names
        if name.lower() not in CHURNERS_NOT_FEATURES and not name.startswith("Naive_Bayes")
    )
    flags = np.array(table.column("Attrition_Flag").to_pylist())
    if other := sorted(set(flags.tolist()) - {ATTRITED, STAYED}):
        raise BadInput(str(path), f"Attrition_Flag has the values {', '.join(other)}")
    return Decoded(
        stored=np.stack([_column(table, name) for name in features], axis=1).astype(np.float32),
        y=(flags == ATTRITED).astype(np.int64),
        class_names=("stayed", "left"),
        divisor=1.0,
        feature_names=features,
        notes=("categories coded 0, 1, ... in the order of their names",),
    )


def _insurance(path: Path, table: Any, threshold: float) -> Decoded:
    """Eight features: four numbers, sex, smoker, and three indicators of the region.

    Qin et al. (2023), table 1, count eight; this coding is our reading of that.
    """
    _needs(path, table, ("age", "sex", "bmi", "children", "smoker", "region", "charges"))
    regions = np.array(table.column("region").to_pylist())
    columns = {name: _column(table, name) for name in ("age", "sex", "bmi", "children", "smoker")}
    columns |= {f"region_{name}": (regions == name).astype(np.float64) for name in REGIONS}
    return Decoded(
        stored=np.stack(list(columns.values()), axis=1).astype(np.float32),
        y=(_column(table, "charges") > threshold).astype(np.int64),
        class_names=(f"charges <= {threshold:g}", f"charges > {threshold:g}"),
        divisor=1.0,
        feature_names=tuple(columns),
        notes=(f"label 1 = charges above {threshold:g}; region as three indicators",),
    )


def _column(table: Any, name: str) -> NDArray[np.float64]:
    """A column as numbers; text becomes the rank of its name."""
    values = np.array(table.column(name).to_pylist())
    if values.dtype.kind == "U":
        return np.unique(values, return_inverse=True)[1].astype(np.float64)
    return values.astype(np.float64)


def _needs(path: Path, table: Any, names: tuple[str, ...]) -> None:
    if missing := [name for name in names if name not in table.column_names]:
        has = ", ".join(table.column_names)
        raise BadInput(str(path), f"lacks the columns {', '.join(missing)}; it has {has}")


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(str(path), f"is not a Parquet file ({error})", "Fetch it again") from None


def _csv(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    try:
        return csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(str(path), f"is not a CSV table ({error})", "Fetch it again") from None


def _numbers(path: Path, width: int) -> NDArray[np.float64]:
    """A CSV of numbers without a header, the one `.csv` in a zip, or plain."""
    import pyarrow as pa
    from pyarrow import csv

    (content,) = [body for _, body in walk(path, _is_table)][:1] or [b""]
    options = csv.ReadOptions(column_names=[str(number) for number in range(width)])
    types = csv.ConvertOptions(column_types={str(number): pa.float64() for number in range(width)})
    try:
        table = csv.read_csv(pa.BufferReader(content), read_options=options, convert_options=types)
    except pa.ArrowInvalid as error:
        problem = f"is not a CSV table of {width} numbers a row ({error})"
        raise BadInput(str(path), problem, "Fetch it again") from None
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def _is_table(name: str) -> bool:
    return name.endswith(".csv") and not name.startswith("__MACOSX")
