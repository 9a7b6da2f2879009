"""What is known about each data set: files, published checksums, counts, terms, folder layout. Facts only, no
code.

A new data set is one Manifest here and one reader in readers.py.

Sources of the values. Checksums and URLs of MNIST, Omniglot, CIFAR: torchvision.datasets. CUB: URL, size and
MD5 of CaltechDATA record 65de6-vp158. Stanford Online Products: the URL of its project page; the MD5 agrees
in several public projects, e.g. vadimkantorov/metriclearningbench. CARS196: MD5 likewise; its URLs no longer
answer (torchvision, StanfordCars). In-shop: the README of the benchmark. Market-1501: the readme of the set;
DukeMTMC-reID: sxzrt/DukeMTMC-reID_evaluation. Checksums of the packed files: the
SHA256SUMS that lie with them. Counts of retrieval splits: cgd_retrieval/reproduce.md, section Data; the other
counts: the README files of the sets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

Counts = tuple[int, int | None]
"""(pictures, classes at the finest level; None: not published)."""


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
        "fewshot": {"train": (5_891, 100), "val": (2_932, 50), "test": (2_965, 50)},
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
CUB_200_2011/bounding_boxes.txt      for crop
CUB_200_2011/split/{train,val,test}.csv    for protocol 'fewshot': Sha-Lab/FEAT, data/cub""",
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

MINI_IMAGENET = Manifest(
    name="mini_imagenet",
    title="mini-ImageNet",
    what="photographs of 100 kinds, few-shot",
    levels=("class",),
    channels=3,
    counts={"fewshot": {"train": (38_400, 64), "val": (9_600, 16), "test": (12_000, 20)}},
    files=(
        File(
            name="images.zip",
            folder="mini_imagenet",
            unpacks="images",
            into="mini_imagenet/images",
            remark="neither size nor checksum is known",
        ),
        *(
            File(
                name=f"{split}.csv",
                folder="mini_imagenet/split",
                remark="the list of Ravi and Larochelle; its classes and counts are checked",
            )
            for split in ("train", "val", "test")
        ),
    ),
    tops=("mini_imagenet", "miniimagenet", "mini-imagenet"),
    marks=(("images",), ("split/train.csv",), ("split/val.csv",), ("split/test.csv",)),
    manual="ImageNet is given out to registered users only (homepage), and the packs that others shared are "
    "mostly gone. Put the 60,000 pictures that the lists of Ravi and Larochelle name into images, and the "
    "lists into split.",
    terms="non-commercial research and education only; the owners of ImageNet do not own the pictures",
    citation="Vinyals et al.: Matching Networks for One Shot Learning, 2016; Ravi, Larochelle: Optimization "
    "as a Model for Few-Shot Learning, 2017",
    homepage="https://www.image-net.org/download.php",
    tree="""\
mini_imagenet/images/n0153282900000005.jpg ...    64 + 16 + 20 classes x 600
mini_imagenet/split/train.csv    filename,label
mini_imagenet/split/val.csv
mini_imagenet/split/test.csv""",
)

MINI_IMAGENET_CLASSES = {
    "val": "n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356 n02981792 n03075370 "
    "n03417042 n03535780 n03584254 n03770439 n03773504 n03980874 n09256479",
    "test": "n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165 n02219486 n02443484 "
    "n02871525 n03127925 n03146219 n03272010 n03544143 n03775546 n04146614 n04149813 n04418357 n04522168 "
    "n07613480",
}
"""WordNet ids of Ravi and Larochelle's validation and test classes; the other 64 are for training. Source:
the same two lists in several public few-shot projects."""

MARKET1501 = Manifest(
    name="market1501",
    title="Market-1501",
    what="1,501 persons in front of six cameras",
    levels=("person",),
    channels=3,
    # Classes of the gallery: 750 persons, 0000 (distractors) and -1 (junk, which no score looks at).
    counts={"retrieval": {"train": (12_936, 751), "query": (3_368, 750), "gallery": (19_732, 752)}},
    files=(
        File(
            name="Market-1501-v15.09.15.zip",
            md5="65005ab7d12ec1c44de4eeafe813e68a",
            folder="market1501",
            unpacks="Market-1501-v15.09.15",
            into="market1501/Market-1501-v15.09.15",
            remark="size not known; the MD5 agrees in several public projects, e.g. Cysu/open-reid",
        ),
    ),
    tops=("Market-1501-v15.09.15", "market1501/Market-1501-v15.09.15", "market1501"),
    marks=(("bounding_box_train",), ("query",), ("bounding_box_test",)),
    manual="It is given out by a page that a program cannot download from (homepage). Put "
    "Market-1501-v15.09.15.zip into the folder market1501 of the data root, then `python -m common.data "
    "fetch market1501` checks and unpacks it; or place the unpacked folder.",
    terms="research only; neither distribution nor commercial use (readme of the set)",
    citation="Zheng, Shen, Tian, Wang, Wang, Tian: Scalable Person Re-identification: A Benchmark, 2015",
    homepage="http://www.liangzheng.org/Project/project_reid.html",
    tree="""\
Market-1501-v15.09.15/bounding_box_train/0002_c1s1_000451_03.jpg ...    12,936
Market-1501-v15.09.15/query/*.jpg                                        3,368
Market-1501-v15.09.15/bounding_box_test/*.jpg, also -1_* and 0000_*     19,732""",
)

DUKEMTMC = Manifest(
    name="dukemtmc",
    title="DukeMTMC-reID",
    what="1,812 persons, eight cameras; withdrawn",
    levels=("person",),
    channels=3,
    # Classes of the gallery: 702 persons and 408 who appear before one camera only.
    counts={"retrieval": {"train": (16_522, 702), "query": (2_228, 702), "gallery": (17_661, 1_110)}},
    files=(
        File(
            name="DukeMTMC-reID.zip",
            folder="dukemtmc",
            unpacks="DukeMTMC-reID",
            into="dukemtmc/DukeMTMC-reID",
            remark="neither size nor checksum is known",
        ),
    ),
    tops=("DukeMTMC-reID", "dukemtmc/DukeMTMC-reID", "dukemtmc"),
    marks=(("bounding_box_train",), ("query",), ("bounding_box_test",)),
    manual="Its providers withdrew DukeMTMC in 2019, and nothing here downloads it. The reader serves those "
    "who hold a copy and have made sure that they may still use it; Market-1501 (market1501) was not "
    "withdrawn.",
    terms="withdrawn by its providers in 2019; before that academic research only",
    citation="Ristani, Solera, Zou, Cucchiara, Tomasi: Performance Measures and a Data Set for Multi-Target, "
    "Multi-Camera Tracking, 2016; Zheng, Zheng, Yang: Unlabeled Samples Generated by GAN Improve the Person "
    "Re-identification Baseline in vitro, 2017",
    homepage="https://github.com/sxzrt/DukeMTMC-reID_evaluation",
    tree="""\
DukeMTMC-reID/bounding_box_train/0001_c2_f0046182.jpg ...    16,522
DukeMTMC-reID/query/*.jpg                                     2,228
DukeMTMC-reID/bounding_box_test/*.jpg                        17,661""",
)

DEEPFASHION = replace(
    INSHOP,
    name="deepfashion",
    title="DeepFashion In-shop Clothes Retrieval, with its tree",
    what="the pictures of inshop, by category, product, variation",
    levels=("category", "product", "variation"),
    # How many variations there are is not stated; the categories are 17 (README of
    # salesforce/hierarchicalContrastiveLearning).
    counts={"retrieval": {"train": (25_882, None), "query": (14_218, None), "gallery": (12_612, None)}},
)

MODELNET40 = Manifest(
    name="modelnet40",
    title="ModelNet40, rendered for MVCNN (modelnet40v1)",
    what="shaded views of CAD models in 40 categories",
    levels=("category", "model"),
    channels=3,
    # 3,183 models: Zhang et al., arXiv:2204.13207. 20 test models of each category and 12 views of each model
    # are recalled from Su et al., ICCV 2015.
    counts={"classification": {"train": (38_196, 3_183), "test": (9_600, 800)}},
    files=(
        File(
            name="modelnet40v1.tar",
            urls=("http://maxwell.cs.umass.edu/mvcnn-data/modelnet40v1.tar",),
            megabytes=204,
            unpacks="modelnet40v1",
            into="modelnet40v1",
            remark="no checksum is published; size as stated in the README of suhangpro/mvcnn",
        ),
    ),
    tops=("modelnet40v1", "modelnet40/modelnet40v1", "modelnet40v1png", "modelnet40"),
    marks=(("airplane/train",), ("airplane/test",), ("xbox/train",), ("xbox/test",)),
    manual="No checksum of the archive is published, so it is not downloaded by itself. Get "
    "modelnet40v1.tar from http://maxwell.cs.umass.edu/mvcnn-data/ (204 MB) into the data root and unpack it "
    "there.",
    terms="not known; ModelNet is for academic use, the rights in the CAD models stay with their owners",
    citation="Wu et al.: 3D ShapeNets, 2015; Su, Maji, Kalogerakis, Learned-Miller: Multi-view Convolutional "
    "Neural Networks for 3D Shape Recognition, 2015",
    homepage="http://vis-www.cs.umass.edu/mvcnn/",
    tree="""\
modelnet40v1/CATEGORY/train/CATEGORY_NNNN_VVV.jpg    3,183 models x 12 views
modelnet40v1/CATEGORY/test/CATEGORY_NNNN_VVV.jpg       800 models x 12 views""",
)

INATURALIST = Manifest(
    name="inaturalist",
    title="iNaturalist 2017",
    what="photographs of 5,089 species in 13 groups",
    levels=("group", "species"),
    channels=3,
    counts={"classification": {"train": (579_184, 5_089), "test": (95_986, 5_089)}},
    files=(
        File(
            name="2017.tgz",
            urls=("https://ml-inat-competition-datasets.s3.amazonaws.com/2017/train_val_images.tar.gz",),
            megabytes=186_000,
            md5="7c784ea5e424efaec655bd392f87301f",
            folder="inaturalist",
            unpacks="train_val_images",
            into="inaturalist/2017",
            remark="size: 186 GB, README of visipedia/inat_comp, 2017",
        ),
        File(
            name="train_val2017.zip",
            urls=("https://ml-inat-competition-datasets.s3.amazonaws.com/2017/train_val2017.zip",),
            folder="inaturalist",
            unpacks="train2017.json",
            into="inaturalist/train2017.json",
            remark="holds val2017.json as well; neither size nor checksum is known",
        ),
    ),
    tops=("inaturalist", "iNaturalist", "inat2017"),
    marks=(("2017", "train_val_images"), ("train2017.json",), ("val2017.json",)),
    manual="186 GB. `torchvision.datasets.INaturalist(ROOT/inaturalist, version='2017', download=True)` "
    "brings the pictures into inaturalist/2017; the lists are in train_val2017.zip of the homepage, unpack "
    "them beside.",
    terms="non-commercial research and education only; the owners of the pictures keep their rights",
    citation="Van Horn et al.: The iNaturalist Species Classification and Detection Dataset, 2018",
    homepage="https://github.com/visipedia/inat_comp/tree/master/2017",
    tree="""\
inaturalist/2017/GROUP/SPECIES/*.jpg    13 groups
inaturalist/train2017.json
inaturalist/val2017.json""",
)

IMAGENET = Manifest(
    name="imagenet",
    title="ImageNet (ILSVRC 2012), with super classes of WordNet",
    what="photographs of 1,000 kinds, WordNet above them",
    levels=("superclass", "class"),
    channels=3,
    counts={"classification": {"train": (1_281_167, 1_000), "test": (50_000, 1_000)}},
    files=(
        File(
            name="ILSVRC2012_img_train.tar",
            md5="1d675b47d978889d74fa0da5fadfb00e",
            folder="imagenet",
            remark="torchvision.datasets.ImageNet unpacks it",
        ),
        File(
            name="ILSVRC2012_img_val.tar",
            md5="29b22e2961454d5413ddabcf34fc5622",
            folder="imagenet",
            remark="torchvision.datasets.ImageNet unpacks it",
        ),
        File(
            name="wordnet.is_a.txt",
            urls=("http://www.image-net.org/archive/wordnet.is_a.txt",),
            folder="imagenet",
            remark="lines 'parent child' of WordNet ids; neither size nor checksum is known",
        ),
    ),
    tops=("imagenet", "ImageNet", "ILSVRC2012"),
    marks=(("train",), ("val",), ("wordnet.is_a.txt",)),
    manual="It is given out to registered users only (homepage). Put the two archives into the folder "
    "imagenet and let `torchvision.datasets.ImageNet('imagenet', split='train')` and 'val' unpack them (they "
    "want the development kit as well); put wordnet.is_a.txt beside them.",
    terms="non-commercial research and education only; the owners of ImageNet do not own the pictures",
    citation="Russakovsky et al.: ImageNet Large Scale Visual Recognition Challenge, 2015; Miller: WordNet: "
    "a lexical database for English, 1995",
    homepage="https://www.image-net.org/download.php",
    tree="""\
imagenet/train/nNNNNNNNN/*.JPEG    1,000 folders
imagenet/val/nNNNNNNNN/*.JPEG
imagenet/wordnet.is_a.txt          lines 'parent child'""",
)

MANIFESTS: dict[str, Manifest] = {
    m.name: m
    for m in (
        MNIST, OMNIGLOT, CIFAR10, CIFAR100, CUB, CUB_100, CARS, SOP, INSHOP, MINI_IMAGENET, MARKET1501,
        DUKEMTMC, DEEPFASHION, MODELNET40, INATURALIST, IMAGENET,
    )
}  # fmt: skip
