"""Semi-supervised learning, Figure 6 of Wu et al., CVPR 2018 (arXiv:1805.01978): fine-tune on a few labels.

The embedding's linear layer gives way to a classifier over the pooled vector, and the whole network is
trained with cross-entropy on a share of the labelled pictures: 70 epochs, learning rate 0.01, a tenth of it
after every 30, as in the paper. Not in the paper, ours: SGD with momentum 0.9 and the run's weight decay,
its batch size and augmentation plus flips, shares drawn per class. "From scratch" is the same protocol on
an untrained checkpoint (--epochs 0).
"""

from __future__ import annotations

import copy
import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import compute
from common.data import counter
from common.data.dataset import Dataset
from common.data.splits import hold_out_images
from instance_discrimination import pictures
from instance_discrimination.model import Encoder
from instance_discrimination.presets import Config
from instance_discrimination.train import precision

_HEAD = 72  # purpose of a generator; never renumber


def few_labels(labelled: Dataset, share: float) -> Dataset:
    """A share of the pictures of each class, at least one, the same for every seed."""
    if not 0 < share < 1:
        raise ValueError(f"--label-shares {share}: choose shares between 0 and 1")
    return hold_out_images(labelled, 1 - share)[0]


def predict(
    model: Encoder, cfg: Config, labelled: Dataset, queries: Dataset, share: float, device: torch.device
) -> Tensor:
    """Class (Q,) int64 on the CPU of each query by a copy of `model`, fine-tuned on the share: Figure 6."""
    few = few_labels(labelled, share)
    classifier = fine_tune(model, cfg, few, device)
    classifier.eval()
    found = []
    with torch.no_grad(), compute.autocast(device, "float32"):
        for images, _, _ in pictures.loader(cfg, queries, device).all():
            found.append(
                classifier(images.contiguous(memory_format=torch.channels_last), unit=False).argmax(1).cpu()
            )
    return torch.cat(found)


def fine_tune(model: Encoder, cfg: Config, few: Dataset, device: torch.device) -> Encoder:
    """A copy of the network whose linear layer predicts the classes of `few`, trained on it."""
    network = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[], enabled=True):
        torch.manual_seed(counter.key(cfg.seed, _HEAD) % 2**63)
        network.fc = nn.Linear(network.fc.in_features, few.classes).to(device)
    cfg = dataclasses.replace(cfg, flip=0.5)
    labels, source = few.label.to(device), pictures.loader(cfg, few, device)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=cfg.finetune_lr, momentum=cfg.momentum, weight_decay=cfg.weight_decay
    )
    drops = [round(cfg.finetune_epochs * part / 7) for part in (3, 6)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, drops)
    for epoch in range(cfg.finetune_epochs):
        network.train()
        for images, index in pictures.batches(cfg, source, epoch):
            if len(index) < 2:
                continue  # batch norm has no deviation of one picture
            with compute.autocast(device, precision(cfg, device)):
                logits = network(images, unit=False)
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(logits, labels[index]).backward()
            optimiser.step()
        schedule.step()
    return network
