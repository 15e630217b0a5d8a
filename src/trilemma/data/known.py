"""The data sets that trilemma knows, by name."""

from trilemma.data.entries import Entry
from trilemma.data.known_images import (
    CIFAR10,
    CIFAR10_FIRST4000,
    CIFAR100,
    DIGITS,
    FASHION_MNIST,
    GTSRB,
    LFW19,
    STL10,
    SVHN,
    TINY_IMAGENET,
    YALEB,
)
from trilemma.data.known_tables import (
    BANK_CHURNERS,
    BREAST_CANCER,
    CRYPTOJACKER,
    HAR,
    INSURANCE,
    SOCIAL_HONEYPOT,
    TWITTER_SPAM_URL,
)

CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        DIGITS,
        BREAST_CANCER,
        FASHION_MNIST,
        CIFAR10,
        CIFAR10_FIRST4000,
        CIFAR100,
        SVHN,
        STL10,
        GTSRB,
        TINY_IMAGENET,
        LFW19,
        YALEB,
        CRYPTOJACKER,
        SOCIAL_HONEYPOT,
        TWITTER_SPAM_URL,
        BANK_CHURNERS,
        INSURANCE,
        HAR,
    )
}
