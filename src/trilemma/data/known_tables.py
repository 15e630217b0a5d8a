"""The tables that trilemma knows: literal entries."""

from trilemma.data.entries import Entry, Form, Remote

SECURITY_TABLES = (  # Chen et al., CCS 2021; one commit of their repository
    "https://raw.githubusercontent.com/surrealyz/verified-global-properties"
    "/fa4a91f4492f6493ac5dbf1f1641f414608d64c4/data/"
)
SECURITY_SOURCE = "https://github.com/surrealyz/verified-global-properties"

BREAST_CANCER = Entry(
    name="breast_cancer",
    kind="BreastCancer",
    title="Breast cancer Wisconsin (diagnostic), as in scikit-learn",
    classes=2,
    shape=(30,),
    rows=(569, 0),
    source="https://archive.ics.uci.edu/dataset/17/breast+cancer+wisconsin+diagnostic",
    licence="CC BY 4.0 (UCI); shipped with scikit-learn (BSD-3-Clause)",
    ships_with="scikit-learn",
)

CRYPTOJACKER = Entry(
    name="cryptojacker",
    kind="Cryptojacker",
    title="Cryptojacking pages (Kharraz et al.)",
    classes=2,
    shape=(7,),
    rows=(2_800, 1_200),
    source=SECURITY_SOURCE,
    licence="none stated",
    forms=(
        Form(
            reader="security_csv",
            files=("cryptojacker.train.csv", "cryptojacker.test.csv"),
        ),
        Form(
            reader="security_parquet",
            files=("cryptojacker.parquet",),
            sha256=("285dfe293666d3e4475a0936dbeb27fdbfa1b0fc34616fb7a4ab2a3ca377786e",),
        ),
    ),
    remotes=(
        Remote(file="cryptojacker.train.csv", urls=(SECURITY_TABLES + "cryptojacker.train.csv",)),
        Remote(file="cryptojacker.test.csv", urls=(SECURITY_TABLES + "cryptojacker.test.csv",)),
    ),
    content="82a18dc9167133aea5a80bb70853d622",
)

SOCIAL_HONEYPOT = Entry(
    name="social_honeypot",
    kind="SocialHoneypot",
    title="Twitter spam accounts (social honeypot, Lee et al.)",
    classes=2,
    shape=(15,),
    rows=(36_000, 4_000),
    source=SECURITY_SOURCE,
    licence="none stated",
    forms=(
        Form(
            reader="security_csv",
            files=(
                "social_honeypot.train.csv.zip|social_honeypot.train.csv",
                "social_honeypot.test.csv.zip|social_honeypot.test.csv",
            ),
        ),
        Form(
            reader="security_parquet",
            files=("social_honeypot.parquet",),
            sha256=("d5bb28a27237d7b0197644d1c9350ee827ff4aa0dfdd764e5d9f2cc6721290ea",),
        ),
    ),
    remotes=(
        Remote(
            file="social_honeypot.train.csv.zip",
            urls=(SECURITY_TABLES + "social_honeypot.train.csv.zip",),
        ),
        Remote(
            file="social_honeypot.test.csv.zip",
            urls=(SECURITY_TABLES + "social_honeypot.test.csv.zip",),
        ),
    ),
    content="e8f22e965ab3d5c0467ab07bcee7a867",
)

_SPAM_URL_DEVIATION = (
    "only the official test file (63,401 rows); the training file (295,870 rows) is not"
    " published beside it; the table has 16,391 distinct rows, so drop duplicates before a"
    " membership experiment"
)

TWITTER_SPAM_URL = Entry(
    name="twitter_spam_url",
    kind="TwitterSpamURL",
    title="Twitter spam URLs (Kwon et al.)",
    classes=2,
    shape=(25,),
    rows=(63_401, 0),
    source=SECURITY_SOURCE,
    licence="none stated",
    forms=(
        Form(
            reader="spam_url_csv",
            files=("unnormalized_twitter_spam.test.csv.zip|unnormalized_twitter_spam.test.csv",),
            deviation=_SPAM_URL_DEVIATION,
        ),
        Form(
            reader="spam_url_parquet",
            files=("twitter_spam_url.parquet",),
            sha256=("cea570c2cb27de5d93cb36f91b11fc1df765c8a95843e5cca0d433ef7783e207",),
            deviation=_SPAM_URL_DEVIATION,
        ),
    ),
    remotes=(
        Remote(
            file="unnormalized_twitter_spam.test.csv.zip",
            urls=(SECURITY_TABLES + "unnormalized_twitter_spam.test.csv.zip",),
        ),
    ),
)

BANK_CHURNERS = Entry(
    name="bank_churners",
    kind="BankChurners",
    title="Credit card customers (BankChurners)",
    classes=2,
    shape=(19,),
    rows=(10_127, 0),
    source="https://www.kaggle.com/datasets/sakshigoyal7/credit-card-customers",
    licence="CC0",
    forms=(
        Form(reader="churners_csv", files=("BankChurners.csv",)),
        Form(
            reader="churners_parquet",
            files=("bank_churners.parquet",),
            sha256=("e980ecc9920c0a32a5a77cc93b896592258980ebd0eca6ba71dd8c30f5a54681",),
        ),
    ),
    how_to_get=(
        "Kaggle asks for an account: download BankChurners.csv from the source's page and put it"
        " into the folder that $TRILEMMA_DATA names"
    ),
    deviation="without the two Naive_Bayes_Classifier columns, which give the label away",
    content="e7bfc62f10ec2646f643d0da50d34272",
)

INSURANCE = Entry(
    name="insurance",
    kind="Insurance",
    title="Medical insurance charges, the 1,338-row version",
    classes=2,
    shape=(8,),
    rows=(1_338, 0),
    source="https://github.com/stedy/Machine-Learning-with-R-datasets",
    licence="public domain, says the repository; simulated people",
    forms=(
        Form(reader="insurance_csv", files=("insurance.csv",)),
        Form(
            reader="insurance_parquet",
            files=("insurance_1338.parquet",),
            sha256=("5a024f1ebd7db9d6551da3e3f077c182a6d1fa12a1ff8b427c4d9a6651f06581",),
        ),
    ),
    remotes=(
        Remote(
            file="insurance.csv",
            urls=(
                "https://raw.githubusercontent.com/stedy/Machine-Learning-with-R-datasets"
                "/ff933238d9c30da179b7e3ad4b6ca938d67efc53/insurance.csv",
            ),
        ),
    ),
    deviation=(
        "not the 3,630-row table of Qin et al. (2023), whose rows look like an oversampling of"
        " this one"
    ),
)

_HAR = "human+activity+recognition+using+smartphones"

HAR = Entry(
    name="har",
    kind="HAR",
    title="Human activity recognition using smartphones (Anguita et al.)",
    classes=6,
    shape=(561,),
    rows=(7_352, 2_947),
    source=f"https://archive.ics.uci.edu/dataset/240/{_HAR}",
    licence="CC BY 4.0 (UCI); the README within forbids commercial use",
    forms=(
        Form(
            reader="har_archive",
            files=(f"{_HAR}.zip|UCI HAR Dataset.zip|UCI HAR Dataset|{_HAR}",),
        ),
    ),
    remotes=(
        Remote(
            file=f"{_HAR}.zip",
            urls=(f"https://archive.ics.uci.edu/static/public/240/{_HAR}.zip",),
            # UCI publishes none: what several projects, each by itself, recorded of this address.
            checksum="sha256:c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031",
            size=61_005_872,
        ),
    ),
    how_to_get="the UCI HAR Dataset.zip within, or its folder, is read as well",
)
