"""What is known about each data set: files, published checksums, counts, terms, folder layout. Facts only, no
code.

A new data set is one Manifest here and one reader in readers.py.

Sources of the values. Checksums and URLs of MNIST, Omniglot, CIFAR: torchvision.datasets. CUB: URL, size and
MD5 of CaltechDATA record 65de6-vp158. Stanford Online Products: the URL of its project page; the MD5 agrees
in several public projects, e.g. vadimkantorov/metriclearningbench. CARS196: MD5 likewise; its URLs no longer
answer (torchvision, StanfordCars). In-shop: the README of the benchmark. Checksums of the packed files: the
SHA256SUMS that lie with them. Counts of retrieval splits: cgd_retrieval/reproduce.md, section Data; the other
counts: the README files of the sets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Counts = tuple[int, int]
"""(pictures, classes at the finest level)."""


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a data set, as it is published."""

    name: str
    """File name."""
    urls: tuple[str, ...] = ()
    """Where to get it, best first; empty: no public address."""
    megabytes: float = math.inf
    """Size in 10^6 bytes, for people and for the rule of automatic downloads; rounded; inf: not known."""
    bytes: int | None = None
    """Exact size where it is published; a download of another size is refused at once."""
    sha256: str = ""
    md5: str = ""
    """Published checksum in hexadecimal; one of the two is enough to accept a download."""
    folder: str = "."
    """Folder below the data root where the download is kept."""
    unpacks: str = ""
    """Entry of the archive that is wanted: a folder, or the file inside a .gz; empty: not an archive."""
    into: str = ""
    """Where that entry comes to lie, below the data root."""
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One data set."""

    name: str
    """Name on the command line, in presets and in results."""
    title: str
    what: str
    """A few words for the table of `python -m common.data list`."""
    levels: tuple[str, ...]
    """Levels of the labels, coarse to fine."""
    channels: int
    """Channels of the published pictures: 1 (grey) or 3 (RGB)."""
    counts: Mapping[str, Mapping[str, Counts]]
    """counts[protocol][split], as published."""
    files: tuple[File, ...] = ()
    """The published files."""
    tops: tuple[str, ...] = ()
    """Folders below the data root in which the published layout may begin, in order of preference."""
    marks: tuple[tuple[str, ...], ...] = ()
    """What must lie below a top: of each tuple at least one."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """File below the top -> its published MD5, where the layout is a few files."""
    packed: tuple[File, ...] = ()
    """Packed variant, below <root>/<name>/; read in place."""
    packed_note: str = ""
    """In what the packed variant differs from the published set; empty: in nothing."""
    boxes: bool = False
    """Whether crop=True is possible."""
    manual: str = ""
    """Why it cannot be downloaded, and how to place it by hand; empty: `fetch` gets it."""
    terms: str
    citation: str
    homepage: str
    tree: str
    """How the data root must look, as text."""

    @property
    def megabytes(self) -> float:
        """Size of the published files (of the packed ones when nothing else exists), in 10^6 bytes."""
        return sum(file.megabytes for file in self.files or self.packed)


MNIST = Manifest(
    name="mnist",
    title="MNIST",
    what="handwritten digits, 28 x 28 grey",
    levels=("digit",),
    channels=1,
    counts={p: {"train": (60_000, 10), "test": (10_000, 10)} for p in ("retrieval", "classification")},
    files=tuple(
        File(
            name=name,
            urls=(
                f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}",
                f"http://yann.lecun.com/exdb/mnist/{name}",
            ),
            megabytes=size / 1e6,
            bytes=size,
            md5=md5,
            folder="MNIST/raw",
            unpacks=name.removesuffix(".gz"),
            into=f"MNIST/raw/{name.removesuffix('.gz')}",
        )
        for name, size, md5 in (
            ("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
            ("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
            ("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        )
    ),
    tops=("MNIST", "mnist/MNIST"),
    marks=tuple(
        (f"raw/{part}-ubyte",)
        for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    ),
    contents={
        "raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    packed=(
        File(
            name="train-images-idx3-ubyte.gz",
            megabytes=9.7,
            bytes=9_719_438,
            sha256="0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
        ),
        File(
            name="train-labels-idx1-ubyte.gz",
            megabytes=0.03,
            bytes=28_857,
            sha256="1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
        ),
        File(
            name="t10k-images-idx3-ubyte.gz",
            megabytes=1.6,
            bytes=1_616_508,
            sha256="1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
        ),
        File(
            name="t10k-labels-idx1-ubyte.gz",
            megabytes=0.01,
            bytes=4_517,
            sha256="b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
        ),
    ),
    terms="CC BY-SA 3.0 (Y. LeCun, C. Cortes, C. Burges)",
    citation="LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998",
    homepage="http://yann.lecun.com/exdb/mnist/",
    tree="""\
MNIST/raw/train-images-idx3-ubyte
MNIST/raw/train-labels-idx1-ubyte
MNIST/raw/t10k-images-idx3-ubyte
MNIST/raw/t10k-labels-idx1-ubyte""",
)

OMNIGLOT = Manifest(
    name="omniglot",
    title="Omniglot",
    what="characters of 50 alphabets, 105 x 105 drawings",
    levels=("alphabet", "character"),
    channels=1,
    counts={"retrieval": {"train": (19_280, 964), "test": (13_180, 659)}},
    files=tuple(
        File(
            name=f"{part}.zip",
            urls=(
                f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{part}.zip",
                f"https://github.com/brendenlake/omniglot/raw/master/python/{part}.zip",
            ),
            megabytes=megabytes,
            md5=md5,
            remark="size rounded up from that of the pictures in it",
            folder="omniglot-py",
            unpacks=part,
            into=f"omniglot-py/{part}",
        )
        for part, megabytes, md5 in (
            ("images_background", 9.0, "68d2efa1b9178cc56df9314c21c6e718"),
            ("images_evaluation", 6.0, "6b91aef0f799c5bb55b94e3f2daec811"),
        )
    ),
    tops=("omniglot-py", "omniglot/omniglot-py", "omniglot"),
    marks=(("images_background",), ("images_evaluation",)),
    packed=(
        File(
            name="omniglot_png.tar.xz",
            megabytes=5.9,
            bytes=5_922_916,
            sha256="5d407c4fdb5bab9ba2d5d5278ce394212ec54f9e4a619fee3a6a8aaf768b5da5",
        ),
    ),
    terms="MIT licence (Brenden Lake, 2015)",
    citation="Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program "
    "induction, 2015",
    homepage="https://github.com/brendenlake/omniglot",
    tree="""\
omniglot-py/images_background/ALPHABET/characterNN/XXXX_YY.png    964 characters x 20
omniglot-py/images_evaluation/ALPHABET/characterNN/XXXX_YY.png    659 characters x 20""",
)

CIFAR10 = Manifest(
    name="cifar10",
    title="CIFAR-10",
    what="32 x 32 colour photographs of 10 kinds",
    levels=("class",),
    channels=3,
    counts={p: {"train": (50_000, 10), "test": (10_000, 10)} for p in ("retrieval", "classification")},
    files=(
        File(
            name="cifar-10-python.tar.gz",
            urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
            megabytes=170.5,
            bytes=170_498_071,
            md5="c58f30108f718f92721af3b95e74349a",
            unpacks="cifar-10-batches-py",
            into="cifar-10-batches-py",
        ),
    ),
    tops=("cifar-10-batches-py", "cifar10/cifar-10-batches-py"),
    marks=(*((f"data_batch_{b}",) for b in range(1, 6)), ("test_batch",), ("batches.meta",)),
    contents={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    packed=(
        File(
            name="cifar10_labels_test1000.npz",
            megabytes=1.7,
            bytes=1_721_548,
            sha256="1e66f69bd3a7e989bc887b38c6d1da3023be79128fb7c159ac3c147fbbc379de",
        ),
        File(
            name="cifar10_train_00_29.npz",
            megabytes=49.9,
            bytes=49_929_180,
            sha256="91fdb9acc19f7b03635757b906beeac4a677309d12666a6239b70d954e8b177d",
        ),
        File(
            name="cifar10_train_30_49.npz",
            megabytes=33.3,
            bytes=33_253_598,
            sha256="ef7517f1b3e1348a5b137f0d92e703f26457cd684824d325e7fd47e16113d0d4",
        ),
        File(
            name="test_rest_9000_lossy_jpeg.tar.xz",
            megabytes=2.8,
            bytes=2_789_220,
            sha256="76a99b972b68a4c4f4d27d8dabaa7c25756d412c92338deaf98b6498c476fb7a",
        ),
    ),
    packed_note="test: the first 1,000 pictures are exact, the other 9,000 are JPEG of quality about 75, "
    "class by class",
    terms="no licence stated; the authors ask for the citation",
    citation="Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    tree="""\
cifar-10-batches-py/data_batch_1 ... data_batch_5
cifar-10-batches-py/test_batch
cifar-10-batches-py/batches.meta""",
)

CIFAR100 = Manifest(
    name="cifar100",
    title="CIFAR-100",
    what="32 x 32 colour photographs, 20 superclasses of 5",
    levels=("superclass", "class"),
    channels=3,
    counts={p: {"train": (50_000, 100), "test": (10_000, 100)} for p in ("retrieval", "classification")},
    files=(
        File(
            name="cifar-100-python.tar.gz",
            urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
            megabytes=169.0,
            bytes=169_001_437,
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            unpacks="cifar-100-python",
            into="cifar-100-python",
        ),
    ),
    tops=("cifar-100-python", "cifar100/cifar-100-python"),
    marks=(("train",), ("test",), ("meta",)),
    contents={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    terms="no licence stated; the authors ask for the citation",
    citation="Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    tree="""\
cifar-100-python/train
cifar-100-python/test
cifar-100-python/meta""",
)

CUB = Manifest(
    name="cub",
    title="CUB-200-2011",
    what="photographs of 200 bird species, boxes",
    levels=("species",),
    channels=3,
    counts={
        "retrieval": {"train": (5_864, 100), "test": (5_924, 100)},
        "classification": {"train": (5_994, 200), "test": (5_794, 200)},
    },
    files=(
        File(
            name="CUB_200_2011.tgz",
            urls=("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",),
            megabytes=1150.6,
            bytes=1_150_585_339,
            md5="97eceeb196236b17998738112f37df78",
            unpacks="CUB_200_2011",
            into="CUB_200_2011",
        ),
    ),
    tops=("CUB_200_2011", "cub/CUB_200_2011", "cub"),
    marks=(("images.txt",), ("image_class_labels.txt",), ("classes.txt",), ("images",)),
    boxes=True,
    terms="non-commercial research and education only; Caltech does not own the copyright of the pictures",
    citation="Wah, Branson, Welinder, Perona, Belongie: The Caltech-UCSD Birds-200-2011 Dataset, 2011",
    homepage="https://data.caltech.edu/records/65de6-vp158",
    tree="""\
CUB_200_2011/images/NNN.Class/*.jpg
CUB_200_2011/images.txt
CUB_200_2011/classes.txt
CUB_200_2011/image_class_labels.txt
CUB_200_2011/train_test_split.txt    for protocol 'classification'
CUB_200_2011/bounding_boxes.txt      for crop""",
)

CUB_100 = Manifest(
    name="cub_100",
    title="CUB-200-2011, 100 of the 200 species, cut to the bird",
    what="100 bird species, 227 x 227, with family and order",
    levels=("order", "family", "species"),
    channels=3,
    counts={
        "retrieval": {"train": (2_949, 50), "test": (2_953, 50)},
        "fewshot": {"train": (2_736, 46), "val": (1_866, 32), "test": (1_300, 22)},
        "classification": {"train": (2_999, 100), "test": (2_903, 100)},
    },
    packed=(
        File(
            name="cub_100_crop227.zip",
            megabytes=56.2,
            bytes=56_167_796,
            sha256="d4855d2500fdc30d75a977a7174dc53792124ef050d3486dbe5985faeaa0fac8",
        ),
    ),
    packed_note="cut to the box, stretched to 227 x 227 and saved as JPEG again; not comparable with "
    "CUB-200-2011",
    manual="There is no public download of this pack. Put cub_100_crop227.zip, with the sha256 that "
    "`python -m common.data verify cub_100` expects, into the folder cub_100 of the data root; it is not "
    "unpacked by hand.",
    terms="non-commercial research and education only; Caltech does not own the copyright of the pictures",
    citation="Wah, Branson, Welinder, Perona, Belongie: The Caltech-UCSD Birds-200-2011 Dataset, 2011",
    homepage="https://data.caltech.edu/records/65de6-vp158",
    tree="cub_100/cub_100_crop227.zip",
)

CARS = Manifest(
    name="cars",
    title="CARS196 (Stanford Cars)",
    what="photographs of 196 car models, boxes",
    levels=("model",),
    channels=3,
    counts={"retrieval": {"train": (8_054, 98), "test": (8_131, 98)}},
    files=(
        File(
            name="car_ims.tgz",
            md5="d5c8f0aa497503f355e17dc7886c3f14",
            folder="cars",
            unpacks="car_ims",
            into="cars/car_ims",
            remark="size not known; the published address no longer answers",
        ),
        File(
            name="cars_annos.mat",
            md5="b407c6086d669747186bd1d764ff9dbc",
            folder="cars",
            remark="size not known; the published address no longer answers",
        ),
    ),
    tops=("cars", "CARS196", "cars196", "stanford_cars", "."),
    marks=(("cars_annos.mat",), ("car_ims",)),
    boxes=True,
    manual="The published addresses no longer answer. Other projects use CARS196.zip of "
    "http://ftp.cs.stanford.edu/cs/cvgl/CARS196.zip (no published checksum). Put car_ims.tgz and "
    "cars_annos.mat into the "
    "folder cars of the data root, then `python -m common.data fetch cars` checks and unpacks them; or "
    "place the unpacked "
    "folder.",
    terms="not known; ask on the homepage",
    citation="Krause, Stark, Deng, Fei-Fei: 3D Object Representations for Fine-Grained Categorization, 2013",
    homepage="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    tree="""\
cars/cars_annos.mat
cars/car_ims/000001.jpg ... 016185.jpg""",
)

SOP = Manifest(
    name="sop",
    title="Stanford Online Products",
    what="photographs of 22,634 products in 12 categories",
    levels=("category", "product"),
    channels=3,
    counts={"retrieval": {"train": (59_551, 11_318), "test": (60_502, 11_316)}},
    files=(
        File(
            name="Stanford_Online_Products.zip",
            urls=(
                "ftp://cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
                "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
            ),
            megabytes=3080,
            md5="7f73d41a2f44250d4779881525aea32e",
            unpacks="Stanford_Online_Products",
            into="Stanford_Online_Products",
            remark="size rounded: 2.87 GiB in the catalogue of TensorFlow Datasets",
        ),
    ),
    tops=("Stanford_Online_Products", "sop/Stanford_Online_Products", "sop", "."),
    marks=(("Ebay_train.txt",), ("Ebay_test.txt",)),
    terms="not known; see the homepage",
    citation="Oh Song, Xiang, Jegelka, Savarese: Deep Metric Learning via Lifted Structured Feature "
    "Embedding, 2016",
    homepage="https://cvgl.stanford.edu/projects/lifted_struct/",
    tree="""\
Stanford_Online_Products/Ebay_train.txt
Stanford_Online_Products/Ebay_test.txt
Stanford_Online_Products/bicycle_final/*.JPG    and 11 more folders""",
)

INSHOP = Manifest(
    name="inshop",
    title="DeepFashion In-shop Clothes Retrieval",
    what="photographs of 7,982 clothes in a shop",
    levels=("item",),
    channels=3,
    counts={"retrieval": {"train": (25_882, 3_997), "query": (14_218, 3_985), "gallery": (12_612, 3_985)}},
    files=(
        File(
            name="img.zip",
            folder="inshop",
            unpacks="img",
            into="inshop/img",
            remark="neither size nor checksum is known",
        ),
        File(
            name="list_eval_partition.txt",
            folder="inshop",
            remark="neither size nor checksum is known",
        ),
    ),
    tops=("inshop", "In-shop Clothes Retrieval Benchmark", "In-shop", "."),
    marks=(
        ("list_eval_partition.txt", "Eval/list_eval_partition.txt", "Anno/list_eval_partition.txt"),
        ("img", "Img/img"),
    ),
    manual="It is given out on request only (agreement form on the homepage). From 'In-shop Clothes "
    "Retrieval Benchmark' "
    "take Img/img.zip (256 x 256, not img_highres.zip) and Eval/list_eval_partition.txt, and unpack img.zip.",
    terms="non-commercial research and education only; the authors do not own the copyright of the pictures",
    citation="Liu, Luo, Qiu, Wang, Tang: DeepFashion: Powering Robust Clothes Recognition and Retrieval, "
    "2016",
    homepage="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
    tree="""\
inshop/list_eval_partition.txt
inshop/img/WOMEN/...
inshop/img/MEN/...""",
)

MANIFESTS: dict[str, Manifest] = {
    m.name: m for m in (MNIST, OMNIGLOT, CIFAR10, CIFAR100, CUB, CUB_100, CARS, SOP, INSHOP)
}
