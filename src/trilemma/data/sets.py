"""One class a data set: what `data: {kind: Digits, members: 300, nonmembers: 300}` decodes to."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

from annotated_types import Ge, Le

from trilemma.core.errors import BadInput
from trilemma.data.presets import PRESETS, Preset, Sizes
from trilemma.data.scaling import Raw, Scaling, UnitRange

AtLeastOne = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]
Halvings = Annotated[int, Ge(0), Le(3)]
AtLeastTwo = Annotated[int, Ge(2)]
LATER = {"counts": "unless default"}  # an option added later: see experiments/keys.py
FREE = ("victim_training_rows", "validation")  # beside a preset


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What every catalogued data set lets its user choose about the split.

    Args:
        members: rows of the target's training part; None = all that are left.
        nonmembers: rows of the target's test part; None = all that are left.
        shadow: rows for shadow models.
        auxiliary: rows an attacker holds, which the target has never seen.
        partial_seed: rows of the members that an attacker holds too: a declared overlap.
        victim_training_rows: rows of the members that join an extraction set: a declared overlap.
        validation: rows that decide which epoch's weights of a model are kept.
        drop_duplicates: take rows that repeat an earlier row out of the pool first.
        pooled: disregard the official training and test parts and split all rows anew.
        preset: a published split instead of the counts; of these, `validation` and, where the
            split has none, `victim_training_rows` stay free.

    Raises:
        BadInput: a count below its least value, an unknown preset, or a preset beside counts.
    """

    ENTRY: ClassVar[str] = ""
    REVISION: ClassVar[int] = 1

    members: AtLeastOne | None = None
    nonmembers: AtLeastOne | None = None
    shadow: Count = 0
    auxiliary: Count = 0
    partial_seed: Count = 0
    victim_training_rows: Count = 0
    validation: Count = field(default=0, metadata=LATER)
    drop_duplicates: bool = False
    pooled: bool = False
    preset: str | None = None

    def __post_init__(self) -> None:
        for name in ("members", "nonmembers"):
            _at_least(name, getattr(self, name), 1)
        for name in ("shadow", "auxiliary", *FREE, "partial_seed"):
            _at_least(name, getattr(self, name), 0)
        preset = self.published()
        if preset is None:
            return
        default = Sizes()
        for each in fields(Sizes):
            open_to_user = each.name in FREE and not getattr(preset.sizes, each.name)
            if getattr(self, each.name) != getattr(default, each.name) and not open_to_user:
                problem = f"is {getattr(self, each.name)} beside preset {self.preset!r}"
                raise BadInput(each.name, problem, "Give the preset or the counts, not both")
        if self.pooled:
            problem = f"is set beside preset {self.preset!r}, which says which rows are pooled"
            raise BadInput("pooled", problem, "Give one of the two")

    def published(self) -> Preset | None:
        """The chosen published split; None where counts were given."""
        if self.preset is None:
            return None
        known = PRESETS.get(type(self).__name__, {})
        if self.preset not in known:
            allowed = ", ".join(known) or f"{type(self).__name__} has none: give counts"
            raise BadInput("preset", f"{self.preset!r} is not known", f"Allowed: {allowed}")
        return known[self.preset]

    def sizes(self) -> Sizes:
        """The counts as they were given."""
        return Sizes(**{each.name: getattr(self, each.name) for each in fields(Sizes)})


def _check_halvings(halvings: int) -> None:
    _at_least("halvings", halvings, 0)
    if halvings > 3:
        raise BadInput("halvings", f"is {halvings}", "Allowed: 0 to 3")


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and (isinstance(value, bool) or value < least):
        raise BadInput(name, f"must be a whole number >= {least}; got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Digits(Sampled):
    """scikit-learn's handwritten digits: 1,797 images of 8x8, 10 classes."""

    ENTRY: ClassVar[str] = "digits"


@dataclass(frozen=True, kw_only=True)
class BreastCancer(Sampled):
    """Breast cancer Wisconsin (diagnostic): 569 rows, 30 features, 2 classes."""

    ENTRY: ClassVar[str] = "breast_cancer"
    scaling: Scaling = field(default_factory=UnitRange)


@dataclass(frozen=True, kw_only=True)
class FashionMNIST(Sampled):
    """Fashion-MNIST: 60,000 + 10,000 grey images of 28x28, 10 classes."""

    ENTRY: ClassVar[str] = "fashion_mnist"


@dataclass(frozen=True, kw_only=True)
class CIFAR10(Sampled):
    """CIFAR-10: 50,000 + 10,000 colour images of 32x32, 10 classes."""

    ENTRY: ClassVar[str] = "cifar10"


@dataclass(frozen=True, kw_only=True)
class CIFAR10First4000(Sampled):
    """The first 4,000 training images of CIFAR-10 with their official pixels."""

    ENTRY: ClassVar[str] = "cifar10_first4000"


@dataclass(frozen=True, kw_only=True)
class CIFAR100(Sampled):
    """CIFAR-100: 50,000 + 10,000 colour images of 32x32, 100 classes (the fine labels)."""

    ENTRY: ClassVar[str] = "cifar100"


@dataclass(frozen=True, kw_only=True)
class SVHN(Sampled):
    """Street view house numbers, cropped: 73,257 + 26,032 colour images of 32x32, 10 digits."""

    ENTRY: ClassVar[str] = "svhn"


@dataclass(frozen=True, kw_only=True)
class STL10(Sampled):
    """STL-10, labelled: 5,000 + 8,000 colour images of 96x96, 10 classes.

    Args:
        size: height and width to which the images are resized, pixels; 32 fits models of CIFAR.

    Raises:
        BadInput: a size below 8, or as every set.
    """

    ENTRY: ClassVar[str] = "stl10"
    size: Annotated[int, Ge(8)] = 96

    def __post_init__(self) -> None:
        Sampled.__post_init__(self)
        _at_least("size", self.size, 8)


@dataclass(frozen=True, kw_only=True)
class GTSRB(Sampled):
    """German traffic signs: 39,209 + 12,630 colour images, 43 classes.

    About 30 frames show one and the same sign, so near-copies of members stand among
    non-members that come from the training part.

    Args:
        size: height and width to which the images are resized, pixels; the papers use 64.
    """

    ENTRY: ClassVar[str] = "gtsrb"
    size: Annotated[int, Ge(8)] = 32


@dataclass(frozen=True, kw_only=True)
class TinyImageNet(Sampled):
    """Tiny ImageNet: 100,000 + 10,000 colour images of 64x64, 200 classes.

    Args:
        halvings: how many times both sides are halved, by box average: 1 leaves 32x32.

    Raises:
        BadInput: more than 3 halvings, or as every set.
    """

    ENTRY: ClassVar[str] = "tiny_imagenet"
    halvings: Halvings = field(default=0, metadata=LATER)

    def __post_init__(self) -> None:
        Sampled.__post_init__(self)
        _check_halvings(self.halvings)


@dataclass(frozen=True, kw_only=True)
class LFW19(Sampled):
    """Labeled faces in the wild: 1,867 colour images of 64x64, 19 people."""

    ENTRY: ClassVar[str] = "lfw19"


@dataclass(frozen=True, kw_only=True)
class YaleB(Sampled):
    """Extended Yale B, cropped: 2,414 grey images, 38 people.

    Args:
        full_size: 192x168 pixels instead of 96x84; needs the canonical archive.
        halvings: how many times more both sides are halved, by box average: 1 leaves 48x42.

    Raises:
        BadInput: more than 3 halvings, or as every set.
    """

    ENTRY: ClassVar[str] = "yaleb"
    full_size: bool = False
    halvings: Halvings = field(default=0, metadata=LATER)

    def __post_init__(self) -> None:
        Sampled.__post_init__(self)
        _check_halvings(self.halvings)


@dataclass(frozen=True, kw_only=True)
class Cryptojacker(Sampled):
    """Cryptojacking pages: 4,000 rows, 7 features; 1 = malicious."""

    ENTRY: ClassVar[str] = "cryptojacker"
    scaling: Scaling = field(default_factory=UnitRange)


@dataclass(frozen=True, kw_only=True)
class SocialHoneypot(Sampled):
    """Twitter spam accounts: 40,000 rows, 15 features; 1 = malicious."""

    ENTRY: ClassVar[str] = "social_honeypot"
    scaling: Scaling = field(default_factory=UnitRange)


@dataclass(frozen=True, kw_only=True)
class TwitterSpamURL(Sampled):
    """Twitter spam URLs, the official test file: 63,401 rows, 25 features; 1 = malicious."""

    ENTRY: ClassVar[str] = "twitter_spam_url"
    scaling: Scaling = field(default_factory=UnitRange)


@dataclass(frozen=True, kw_only=True)
class BankChurners(Sampled):
    """Credit card customers: 10,127 rows, 19 features; 1 = left."""

    ENTRY: ClassVar[str] = "bank_churners"
    scaling: Scaling = field(default_factory=UnitRange)


@dataclass(frozen=True, kw_only=True)
class Insurance(Sampled):
    """Medical insurance charges: 1,338 rows, 8 features; 1 = charges above the threshold.

    Args:
        threshold: charges above it make the positive class. Qin et al. (2023) do not say how they
            labelled; 30,000 gives their share of positive rows (12.1 % against 11.7 %).
    """

    ENTRY: ClassVar[str] = "insurance"
    scaling: Scaling = field(default_factory=UnitRange)
    threshold: float = 30_000.0


@dataclass(frozen=True, kw_only=True)
class HAR(Sampled):
    """Human activity recognition using smartphones: 7,352 + 2,947 rows, 561 features, 6 activities.

    The features are published in [-1, 1] and stay there by default, so an experiment that perturbs
    them declares `box: {low: -1, high: 1}`.

    The official parts come from different people, so members and non-members differ by more than
    membership; the blind self-test says how far. Split anew (`pooled`), windows of one recording
    that overlap by half come to lie on both sides.
    """

    ENTRY: ClassVar[str] = "har"
    scaling: Scaling = field(default_factory=Raw)


@dataclass(frozen=True, kw_only=True)
class Files:
    """The user's own rows: each part is a file or a folder.

    Args:
        members: rows the model was trained on: `.npz` (x, y), `.csv`, `.parquet` or `.pq` with a
            label column, or a folder with one folder of images a class.
        nonmembers: rows it was not trained on, in any of these shapes.
        shadow: further rows for shadow models.
        auxiliary: further rows an attacker holds.
        validation: further rows that decide which epoch's weights of a model are kept.
        label: name of the label column; None = `label`, `target` or `y`.
        classes: how many classes the model tells apart; None: those that the labels name.
        allow_overlap: accept members that are among the non-members as well, and either among the
            validation rows; their number is reported either way.
        drop_duplicates: take out rows that repeat a row of the same or of an earlier part.

    Raises:
        BadInput: fewer than 2 classes.
    """

    REVISION: ClassVar[int] = 1

    members: str
    nonmembers: str
    shadow: str | None = None
    auxiliary: str | None = None
    validation: str | None = field(default=None, metadata=LATER)
    label: str | None = None
    classes: AtLeastTwo | None = None
    allow_overlap: bool = False
    drop_duplicates: bool = False

    def __post_init__(self) -> None:
        _at_least("classes", self.classes, 2)

    def paths(self) -> dict[str, str]:
        """Part -> its file or folder, `~` written out."""
        names = ("members", "nonmembers", "shadow", "auxiliary", "validation")
        given = {name: getattr(self, name) for name in names}
        return {
            name: str(Path(path).expanduser()) for name, path in given.items() if path is not None
        }


Catalogued: TypeAlias = (
    Digits
    | BreastCancer
    | FashionMNIST
    | CIFAR10
    | CIFAR10First4000
    | CIFAR100
    | SVHN
    | STL10
    | GTSRB
    | TinyImageNet
    | LFW19
    | YaleB
    | Cryptojacker
    | SocialHoneypot
    | TwitterSpamURL
    | BankChurners
    | Insurance
    | HAR
)
Data: TypeAlias = Catalogued | Files
