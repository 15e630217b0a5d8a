"""The image data sets that trilemma knows: literal entries."""

from trilemma.data.entries import Entry, Form, Remote

GTSRB_ARCHIVE = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
CIFAR = "https://www.cs.toronto.edu/~kriz/"
HOUSE_NUMBERS = "http://ufldl.stanford.edu/housenumbers/"
FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

DIGITS = Entry(
    name="digits",
    kind="Digits",
    title="Optical recognition of handwritten digits (UCI), as in scikit-learn",
    classes=10,
    shape=(1, 8, 8),
    rows=(1797, 0),
    source="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    licence="CC BY 4.0 (UCI); shipped with scikit-learn (BSD-3-Clause)",
    ships_with="scikit-learn",
    deviation="the 1,797 test images of the 5,620 of UCI",
)

FASHION_MNIST = Entry(
    name="fashion_mnist",
    kind="FashionMNIST",
    title="Fashion-MNIST",
    classes=10,
    shape=(1, 28, 28),
    rows=(60_000, 10_000),
    source="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    forms=(
        Form(
            reader="fashion_idx",
            files=(
                "train-images-idx3-ubyte.gz|train-images-idx3-ubyte",
                "train-labels-idx1-ubyte.gz|train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte.gz|t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte.gz|t10k-labels-idx1-ubyte",
            ),
        ),
    ),
    remotes=(
        Remote(
            file="train-images-idx3-ubyte.gz",
            urls=(FASHION + "train-images-idx3-ubyte.gz",),
            checksum="md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            size=26_421_880,
        ),
        Remote(
            file="train-labels-idx1-ubyte.gz",
            urls=(FASHION + "train-labels-idx1-ubyte.gz",),
            checksum="md5:25c81989df183df01b3e8a0aad5dffbe",
            size=29_515,
        ),
        Remote(
            file="t10k-images-idx3-ubyte.gz",
            urls=(FASHION + "t10k-images-idx3-ubyte.gz",),
            checksum="md5:bef4ecab320f06d8554ea6380940ec79",
            size=4_422_102,
        ),
        Remote(
            file="t10k-labels-idx1-ubyte.gz",
            urls=(FASHION + "t10k-labels-idx1-ubyte.gz",),
            checksum="md5:bb300cfdad3c16e7a12a480ee83cd310",
            size=5_148,
        ),
    ),
    how_to_get="Debian and Ubuntu: apt-get install dataset-fashion-mnist",
    content="cbcdb44ca2fc8c7303ef2ef57f3f4363",
)

_CIFAR_PICKLE = (
    "is the python version of CIFAR-{0}, which is a set of pickles: reading one can run any code"
    " that is hidden in it, so trilemma does not. Download the binary version, "
    + CIFAR
    + "cifar-{0}-binary.tar.gz, and put it in the same folder"
)
_CIFAR_BINARY = Form(
    reader="cifar10_binary", files=("cifar-10-binary.tar.gz|cifar-10-batches-bin",)
)
_CIFAR_REFUSED = Form(
    reader="",
    files=("cifar-10-python.tar.gz|cifar-10-batches-py",),
    refused=_CIFAR_PICKLE.format(10),
)
_CIFAR_REMOTE = Remote(
    file="cifar-10-binary.tar.gz",
    urls=(CIFAR + "cifar-10-binary.tar.gz",),
    checksum="md5:c32a1d4ab5d03f1284b67883e8d87530",
    size=170_052_171,
)

CIFAR10 = Entry(
    name="cifar10",
    kind="CIFAR10",
    title="CIFAR-10",
    classes=10,
    shape=(3, 32, 32),
    rows=(50_000, 10_000),
    source=CIFAR + "cifar.html",
    licence="none stated on the canonical page",
    forms=(
        _CIFAR_BINARY,
        Form(
            reader="jpeg_npz",
            files=("cifar10_jpeg.npz",),
            sha256=("82244e4385f8245bf61caccf05f782b7bed1d9c8a3c0ca9835584845f47de361",),
            deviation=(
                "every image was re-encoded as JPEG (quality 75, 4:2:0): mean absolute error 5.8"
                " grey levels, PSNR 30 dB against the official pixels; accuracies are some points"
                " below published ones, and JPEG noise is of the size of an 8/255 perturbation"
            ),
        ),
        _CIFAR_REFUSED,
    ),
    remotes=(_CIFAR_REMOTE,),
)

CIFAR10_FIRST4000 = Entry(
    name="cifar10_first4000",
    kind="CIFAR10First4000",
    title="CIFAR-10, the first 4,000 official training images",
    classes=10,
    shape=(3, 32, 32),
    rows=(4_000, 0),
    source=CIFAR + "cifar.html",
    licence="none stated on the canonical page",
    forms=(
        Form(
            reader="pixel_npz",
            files=("cifar10_lossless_first4000.npz",),
            sha256=("c6ceff0c6dfc164b963bcd074a284fe7bbd50d45d6e10fdac399aed552f9b2ce",),
        ),
        Form(reader="cifar10_binary_first4000", files=_CIFAR_BINARY.files),
        _CIFAR_REFUSED,
    ),
    remotes=(_CIFAR_REMOTE,),
    deviation="a subset: 4,000 of the 60,000 images, with the official pixels",
)

CIFAR100 = Entry(
    name="cifar100",
    kind="CIFAR100",
    title="CIFAR-100",
    classes=100,
    shape=(3, 32, 32),
    rows=(50_000, 10_000),
    source=CIFAR + "cifar.html",
    licence="none stated on the canonical page",
    forms=(
        Form(reader="cifar100_binary", files=("cifar-100-binary.tar.gz|cifar-100-binary",)),
        Form(
            reader="",
            files=("cifar-100-python.tar.gz|cifar-100-python",),
            refused=_CIFAR_PICKLE.format(100),
        ),
    ),
    remotes=(
        Remote(
            file="cifar-100-binary.tar.gz",
            urls=(CIFAR + "cifar-100-binary.tar.gz",),
            checksum="md5:03b5dce01913d631647c71ecec9e9cb8",
            size=168_513_733,
        ),
    ),
)

SVHN = Entry(
    name="svhn",
    kind="SVHN",
    title="Street view house numbers, cropped digits",
    classes=10,
    shape=(3, 32, 32),
    rows=(73_257, 26_032),
    source=HOUSE_NUMBERS,
    licence="non-commercial use only",
    forms=(Form(reader="svhn_mat", files=("train_32x32.mat", "test_32x32.mat")),),
    remotes=(
        Remote(
            file="train_32x32.mat",
            urls=(HOUSE_NUMBERS + "train_32x32.mat",),
            checksum="md5:e26dedcc434d2e4c54c9b2d4a06d8373",
            size=182_040_794,
        ),
        Remote(
            file="test_32x32.mat",
            urls=(HOUSE_NUMBERS + "test_32x32.mat",),
            checksum="md5:eb5a983be6a315427106f1b164d9cef3",
            size=64_275_384,
        ),
    ),
)

STL10 = Entry(
    name="stl10",
    kind="STL10",
    title="STL-10, labelled images",
    classes=10,
    shape=(3, 96, 96),
    rows=(5_000, 8_000),
    source="https://cs.stanford.edu/~acoates/stl10/",
    licence="none stated; images from ImageNet",
    forms=(Form(reader="stl10_binary", files=("stl10_binary.tar.gz|stl10_binary",)),),
    remotes=(
        Remote(
            file="stl10_binary.tar.gz",
            urls=(
                "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                "https://cs.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            ),
            checksum="md5:91f7769df0f17e558f3565bffb0c7dfb",
            size=2_640_397_119,
        ),
    ),
)

GTSRB = Entry(
    name="gtsrb",
    kind="GTSRB",
    title="German traffic sign recognition benchmark",
    classes=43,
    shape=(3, 32, 32),
    rows=(39_209, 12_630),
    source="https://benchmark.ini.rub.de/gtsrb_dataset.html",
    licence="none stated; research use",
    forms=(
        Form(
            reader="gtsrb_archives",
            files=(
                "GTSRB_Final_Training_Images.zip|GTSRB/Final_Training",
                "GTSRB_Final_Test_Images.zip|GTSRB/Final_Test",
                "GTSRB_Final_Test_GT.zip|GT-final_test.csv",
            ),
        ),
        Form(
            reader="gtsrb_npz",
            files=("gtsrb_32.npz",),
            sha256=("89b0b17eb7fe38368690212d4374e6f2659ae9ac64ba8fd18b7d3ca7ad39a2b4",),
            deviation=(
                "8,600 of the 39,209 training images (200 a class, evenly over the sign tracks),"
                " the whole image instead of the sign's box, resized to 32x32 (the paper: 64x64)"
            ),
        ),
    ),
    remotes=(
        Remote(
            file="GTSRB_Final_Training_Images.zip",
            urls=(GTSRB_ARCHIVE + "GTSRB_Final_Training_Images.zip",),
            checksum="md5:f33fd80ac59bff73c82d25ab499e03a3",
            size=276_294_756,
        ),
        Remote(
            file="GTSRB_Final_Test_Images.zip",
            urls=(GTSRB_ARCHIVE + "GTSRB_Final_Test_Images.zip",),
            checksum="md5:c7e4e6327067d32654124b0fe9e82185",
            size=88_978_620,
        ),
        Remote(
            file="GTSRB_Final_Test_GT.zip",
            urls=(GTSRB_ARCHIVE + "GTSRB_Final_Test_GT.zip",),
            checksum="md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5",
            size=99_620,
        ),
    ),
)

TINY_IMAGENET = Entry(
    name="tiny_imagenet",
    kind="TinyImageNet",
    title="Tiny ImageNet (CS231n)",
    classes=200,
    shape=(3, 64, 64),
    rows=(100_000, 10_000),
    source="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    licence="ImageNet terms: non-commercial research",
    forms=(
        Form(reader="tiny_imagenet_archive", files=("tiny-imagenet-200.zip|tiny-imagenet-200",)),
        Form(
            reader="tiny_imagenet_npz",
            files=("tiny_imagenet_jpeg.npz",),
            sha256=("63d075841dbd9995836dd2b92d6881c859126ded78285a532b59f48e9e5e5018",),
            deviation=(
                "20,000 of the 100,000 training images (100 a class) and 5,000 of the 10,000"
                " validation images (25 a class), original JPEG bytes"
            ),
        ),
    ),
    remotes=(
        Remote(
            file="tiny-imagenet-200.zip",
            urls=("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
            checksum="md5:90528d7ca1a48142e341f4ef8d21d0de",
            size=248_100_043,
        ),
    ),
)

LFW19 = Entry(
    name="lfw19",
    kind="LFW19",
    title="Labeled faces in the wild: the 19 people with more than 40 images",
    classes=19,
    shape=(3, 64, 64),
    rows=(1_867, 0),
    source="http://vis-www.cs.umass.edu/lfw/",
    licence="none stated; pictures of real, named people, not for commercial verification",
    forms=(
        Form(reader="lfw_archive", files=("lfw-funneled.tgz|lfw_funneled",)),
        Form(
            reader="lfw_npz",
            files=("lfw_19people_64.npz",),
            sha256=("22749837c729c1a04d38629c756ec1038646382c3c5d7398c06db2355af31516",),
            deviation=(
                "from the 150x150 copies of the data set's site (the archive has 250x250): the"
                " central half, resized to 64x64"
            ),
        ),
    ),
    remotes=(
        Remote(
            file="lfw-funneled.tgz",
            urls=(
                "http://vis-www.cs.umass.edu/lfw/lfw-funneled.tgz",
                "https://ndownloader.figshare.com/files/5976015",
            ),
            checksum="sha256:b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
            size=243_346_528,
        ),
    ),
)

YALEB = Entry(
    name="yaleb",
    kind="YaleB",
    title="Extended Yale face database B, cropped",
    classes=38,
    shape=(1, 96, 84),
    rows=(2_414, 0),
    source="http://vision.ucsd.edu/~leekc/ExtYaleDatabase/ExtYaleB.html",
    licence="free for research, with acknowledgement; pictures of real people",
    forms=(
        Form(reader="yaleb_archive", files=("CroppedYale.zip|CroppedYale",)),
        Form(
            reader="yaleb_npz",
            files=("yaleb_cropped_96x84.npz",),
            sha256=("bac7c5257f28320bc9f4d5170325f42c92d62d6006eb98afac206f6e2b5340c7",),
            deviation="192x168 images halved to 96x84 by box average",
        ),
    ),
    remotes=(
        Remote(
            file="CroppedYale.zip",
            urls=("http://vision.ucsd.edu/extyaleb/CroppedYaleBZip/CroppedYale.zip",),
        ),
    ),
)
