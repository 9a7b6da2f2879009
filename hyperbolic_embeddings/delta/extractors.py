"""Features of pictures: the last hidden layer of a torchvision network, or the pixels themselves.

Table 1 has Inception v3, ResNet34 and VGG19 with ImageNet weights. Their penultimate outputs: 2048 and 512
numbers after the global average pool, and 4096 after the last hidden layer and its ReLU (dropout is
inactive); the authors' helper has VGG16, likewise (note G1).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from common.data.augment import Augment, Statistics
from common.data.dataset import Dataset
from common.data.loading import Loader
from common.typos import near


def network(name: str, weights: str, seed: int = 0) -> nn.Module:
    """A torchvision classification network without its last linear layer, in evaluation mode.

    [B, 3, H, W] -> [B, D], what that layer would get. name: as torchvision.models.get_model takes it.
    weights: a name such as 'IMAGENET1K_V1' or 'DEFAULT', downloaded once into the folder of torch.hub;
    'none': random weights, a function of `seed` alone. ValueError: unknown names, or a network that does
    not end in a linear layer; FileNotFoundError: the weights cannot be downloaded.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(
            f"--network {name}: torchvision has no such classification network; {near(name, known)}"
            "choose one of torchvision.models.list_models(), e.g. resnet34"
        )
    options: dict[str, Any] = {}
    if weights == "none":
        chosen = None
        if name in ("inception_v3", "googlenet"):
            options["init_weights"] = True  # the default warns that it will change
    else:
        try:
            chosen = torchvision.models.get_model_weights(name)[weights]
        except KeyError as error:
            names = [entry.name for entry in torchvision.models.get_model_weights(name)]
            listed = ", ".join(names) or "no weights"
            raise ValueError(
                f"--weights {weights}: {name} has {listed}, DEFAULT and none; choose one of them"
            ) from error
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = torchvision.models.get_model(name, weights=chosen, **options)
    except (OSError, RuntimeError) as error:
        if chosen is None:
            raise
        raise FileNotFoundError(
            f"weights {weights} of {name} cannot be loaded ({error}); put {chosen.url} into "
            f"{torch.hub.get_dir()}/checkpoints, or take random ones with --weights none"
        ) from error
    last = [path for path, part in net.named_modules() if isinstance(part, nn.Linear)]
    if not last:
        raise ValueError(f"--network {name} does not end in a linear layer; choose another, e.g. resnet34")
    parent, _, own = last[-1].rpartition(".")
    setattr(net.get_submodule(parent), own, nn.Identity())
    return net.eval()


@torch.no_grad()
def features(
    net: nn.Module | None,
    dataset: Dataset,
    *,
    size: int,
    mean: Statistics,
    std: Statistics,
    device: torch.device,
    workers: int = 0,
    batch: int = 64,
) -> Tensor:
    """(N, D) float32 on the CPU, in the order of the data set.

    net: [B, 3, size, size] -> [B, D], in evaluation mode; pictures of another size are resized to it on the
    device (bilinear, antialiased). None: the pixels as they are, in [0, 1], as published (one channel or
    three).
    """
    if net is None:
        loader = Loader(dataset, Augment(size=dataset.size), device=device, workers=workers)
        return torch.cat(
            [images[:, : dataset.channels].flatten(1).cpu() for images, _, _ in loader.all(batch)]
        )
    loader = Loader(dataset, Augment(size=dataset.size, mean=mean, std=std), device=device, workers=workers)
    net = net.to(device)
    rows = []
    for images, _, _ in loader.all(batch):
        if images.shape[-1] != size:
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        rows.append(net(images).float().cpu())
    return torch.cat(rows)
