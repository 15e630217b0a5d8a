"""Data sets, splits and the user's own files. NumPy arrays; no torch."""

from trilemma.data.catalogue import listing, locate
from trilemma.data.download import DownloadFailed
from trilemma.data.loaded import Info, Loaded
from trilemma.data.loading import load, source_digest
from trilemma.data.scaling import Raw, Scaling, Standard, UnitRange
from trilemma.data.sets import (
    CIFAR10,
    CIFAR100,
    GTSRB,
    HAR,
    LFW19,
    STL10,
    SVHN,
    BankChurners,
    BreastCancer,
    Catalogued,
    CIFAR10First4000,
    Cryptojacker,
    Data,
    Digits,
    FashionMNIST,
    Files,
    Insurance,
    SocialHoneypot,
    TinyImageNet,
    TwitterSpamURL,
    YaleB,
)
from trilemma.data.splits import Report, Splits, split

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "GTSRB",
    "HAR",
    "LFW19",
    "STL10",
    "SVHN",
    "BankChurners",
    "BreastCancer",
    "CIFAR10First4000",
    "Catalogued",
    "Cryptojacker",
    "Data",
    "Digits",
    "DownloadFailed",
    "FashionMNIST",
    "Files",
    "Info",
    "Insurance",
    "Loaded",
    "Raw",
    "Report",
    "Scaling",
    "SocialHoneypot",
    "Splits",
    "Standard",
    "TinyImageNet",
    "TwitterSpamURL",
    "UnitRange",
    "YaleB",
    "listing",
    "load",
    "locate",
    "source_digest",
    "split",
]
