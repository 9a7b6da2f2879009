"""Data sets: `load` one, or first `resolve` what can be loaded here. `python -m common.data list` shows them
all.

    dataset.py     what a loaded split is                 catalogue.py   find, get, load
    manifests.py   facts about each published set         readers.py     from files to labels and pictures
    download.py    published files, checked               archive.py     unpack what may be hostile
    cache.py       unpacked and decoded once              embedded.py    generated drawings, for any machine
    layouts.py     those drawings in published layouts    splits.py      validation out of training data
    samplers.py    order and make-up of batches           augment.py     random changes, on the device
    loading.py     batches

Names are imported when they are first used, so that reading one module costs no other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.data.catalogue import DataMissing, load, resolve
    from common.data.dataset import Dataset, decode
    from common.data.manifests import MANIFESTS, Manifest

__all__ = ["MANIFESTS", "DataMissing", "Dataset", "Manifest", "decode", "load", "resolve"]

_HOME = {
    "load": "catalogue",
    "resolve": "catalogue",
    "DataMissing": "catalogue",
    "Dataset": "dataset",
    "decode": "dataset",
    "MANIFESTS": "manifests",
    "Manifest": "manifests",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
