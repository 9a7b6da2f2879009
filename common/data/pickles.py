"""Read the pickles that CIFAR is published as, and nothing else that a pickle can hold.

A pickle is a program. This one may make lists, dictionaries, text, numbers and a few arrays of uint8; another
name that it asks for ends it. It takes about ten times the memory that the file has bytes, at most.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
CALLS = 8
"""Arrays and byte strings in one file that are still believed; each may copy a large part of the file."""
TUPLES = 1000
"""In one file that are still believed. Python breaks down when it hashes 200,000 in one another."""


class _Array:
    """What a pickle puts in place of a uint8 array until its bytes are known."""

    array: NDArray[np.uint8]

    def __setstate__(self, state: Any) -> None:
        _, shape, _, fortran, content = state
        content = content.encode("latin1") if isinstance(content, str) else content
        if fortran or hasattr(self, "array"):
            raise pickle.UnpicklingError("it fills an array twice, or not row by row")
        self.array = np.frombuffer(content, np.uint8).reshape(shape)


class _Kind:
    """The type of an array's numbers, always uint8; what a pickle says more about it is passed over."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """Only what a CIFAR file needs: no other name can be called, and those few not often."""

    calls = 0

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return "ndarray"
        if (module, name) == ("numpy", "dtype"):
            return self.kind
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return self.reconstruct
        if (module, name) == ("_codecs", "encode"):  # bytes, as Python 3 writes them for Python 2
            return self.encode
        raise pickle.UnpicklingError(f"it asks for {module:.80}.{name:.80}")

    def kind(self, kind: str, *_: Any) -> _Kind:
        if kind != "u1":
            raise pickle.UnpicklingError(f"it holds an array of type {kind!r:.80}, not of u1")
        return _Kind()

    def reconstruct(self, *_: Any) -> _Array:
        return self.counted(_Array())

    def encode(self, text: str, *_: Any) -> bytes:
        return self.counted(text.encode("latin1"))

    def counted(self, value: T) -> T:
        self.calls += 1
        if self.calls > CALLS:
            raise pickle.UnpicklingError("it makes more arrays than a batch has")
        return value


def unpickle(path: Path) -> dict[str, Any]:
    """The dictionary of a CIFAR batch or of its names. ValueError naming any other file."""
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of escapes in text that Python has not
            tuples = 0
            for code, argument, _ in pickletools.genops(content):
                tuples += code.name.startswith("TUPLE")
                if "PUT" in code.name and int(argument or 0) > len(content):  # pickle makes room for them
                    raise ValueError(f"it counts {argument} values")
            if tuples > TUPLES:
                raise ValueError(f"it holds {tuples} tuples")
            found = _Unpickler(io.BytesIO(content), encoding="latin1").load()
        if type(found) is not dict:
            raise ValueError(f"it holds a {type(found).__name__}, no dictionary")
        return {name: value.array if isinstance(value, _Array) else value for name, value in found.items()}
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        OverflowError,
        IndexError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise ValueError(f"{path} is not a CIFAR batch: {reason}; get it again") from error
