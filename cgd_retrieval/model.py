"""CGD and its two rivals, Jun et al., "Combination of Multiple Global Descriptors for Image Retrieval"
(arXiv:1903.10663v4), Section 3 and Figures 1 and 2.

    symbol   shape          meaning
    X        (B, C, H, W)   feature map of the backbone
    f        (B, C)         raw descriptor of one branch: S, M or G (descriptors.py)
    Phi      (B, k)         unit-norm branch embedding, k = D / n for n branches
    Psi      (B, D)         unit-norm embedding that is searched with
    W        (k, C)         FC of a branch, without bias
    logits   (B, M)         auxiliary head, from the first raw descriptor
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from cgd_retrieval.backbones import freeze_batch_norm
from cgd_retrieval.descriptors import gem, mac, spoc
from common.arguments import described, whole_number

CONFIGS = ("S", "M", "G", "SM", "MS", "SG", "GS", "MG", "GM", "SMG", "MSG", "GSM")
"""The paper's twelve combinations; the first letter feeds the auxiliary head."""
FRAMEWORKS = ("CGD", "A", "B")
FUSIONS = ("concat", "sum", "sum-small")


class Branch(nn.Module):
    """Phi = W f / |W f|, Eq. (2): FC without bias, BN or activation, then l2.  (B, C) -> (B, k)"""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.fc = nn.Linear(whole_number("channels", channels), whole_number("size", size), bias=False)

    def forward(self, f: Tensor) -> Tensor:
        if not isinstance(f, Tensor) or f.ndim != 2 or f.shape[1] != self.fc.in_features:
            shown = tuple(f.shape) if isinstance(f, Tensor) else described(f)
            raise ValueError(f"f is {shown}; give a descriptor [B, {self.fc.in_features}]")
        return normalize(self.fc(f), dim=1)


class CGD(nn.Module):
    """Backbone, descriptors, embedding, auxiliary head: [B, 3, H, W] -> (Psi [B, dim], logits [B, M]).

    backbone     maps [B, 3, H, W] to [B, C, h, w] and has `channels` = C
    config       one of CONFIGS
    dim          D, size of the embedding; a multiple of the number n of letters (framework B: any size)
    classes      M, training classes; not needed when auxiliary is False
    framework    Figure 2. 'CGD': each descriptor is reduced to D / n and normalised, then joined, Eq. (2) and
                 (3); one ranking loss. 'A': the same branches with a ranking loss each, see `ranked`. 'B':
                 raw descriptors are joined, one FC reduces n C to D.
    fusion       Table 4, framework CGD only. 'concat'; 'sum': Phi of size D are added; 'sum-small': Phi of
                 size D / n are added, and Psi has D / n entries. Which sum the paper means is not known.
    learnable_p  the exponent of GeM is a parameter that starts at 3; the paper fixes it
    auxiliary    False: no classification head, logits are None
    freeze_bn    True: running statistics of the backbone's BatchNorm2d never move (note D3)

    Every Phi has norm 1, so the joined vector has norm sqrt(n), the last l2 only divides by it, and
    <Psi(x), Psi(y)> is the mean of the n branch cosines (note D19).
    """

    def __init__(
        self,
        backbone: nn.Module,
        config: str = "GSM",
        dim: int = 1536,
        classes: int | None = None,
        *,
        framework: str = "CGD",
        fusion: str = "concat",
        learnable_p: bool = False,
        auxiliary: bool = True,
        freeze_bn: bool = False,
    ) -> None:
        super().__init__()
        if config not in CONFIGS:
            raise ValueError(
                f"config {config!r} is not one of the paper's twelve; choose {', '.join(CONFIGS)}"
            )
        if framework not in FRAMEWORKS:
            raise ValueError(
                f"framework {framework!r} is unknown; choose one of {', '.join(FRAMEWORKS)} (Figure 2)"
            )
        if fusion not in FUSIONS:
            raise ValueError(f"fusion {fusion!r} is unknown; choose one of {', '.join(FUSIONS)}")
        if fusion != "concat" and framework != "CGD":
            raise ValueError(
                f"fusion {fusion!r} belongs to framework 'CGD'; choose 'concat' for framework {framework!r}"
            )
        n = len(config)
        if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
            raise ValueError(f"dim is {dim!r}; give the size of the embedding, an int of at least 1")
        if dim % n and framework != "B":
            raise ValueError(
                f"dim {dim} cannot be shared by the {n} branches of {config}; choose a multiple of {n}"
            )
        if auxiliary and (not isinstance(classes, int) or classes < 1):
            raise ValueError(
                f"classes is {classes!r}; the auxiliary head needs the number of training classes: give "
                "an int of at least 1"
            )
        if learnable_p and "G" not in config:
            raise ValueError(
                f"learnable_p needs a GeM branch, but config {config} has no letter G; choose one that has"
            )
        channels = getattr(backbone, "channels", None)
        if not isinstance(channels, int):
            raise TypeError(
                f"backbone.channels is {channels!r}; give the channels C of its feature map, an int"
            )

        self.backbone = backbone
        self.config, self.framework, self.fusion, self.freeze_bn = config, framework, fusion, freeze_bn
        self.channels = channels
        self.branch_dim = dim if fusion == "sum" or framework == "B" else dim // n
        self.dim = self.branch_dim if fusion == "sum-small" else dim
        self.p = nn.Parameter(torch.tensor(3.0)) if learnable_p else 3.0
        if framework == "B":
            self.reduce = Branch(n * channels, dim)
        else:
            self.branches = nn.ModuleDict({letter: Branch(channels, self.branch_dim) for letter in config})
        # Figure 1 writes M beside the BN box; BN over the C channels, before FC(0), is likelier (note D5).
        self.classifier = (
            nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, classes))
            if auxiliary and classes
            else None
        )
        self.train(self.training)  # so that freeze_bn holds before the first call of train()

    def train(self, mode: bool = True) -> "CGD":
        super().train(mode)
        if self.freeze_bn:
            freeze_batch_norm(self.backbone)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pictures [B, 3, H, W] -> (Psi [B, dim], unit rows; logits [B, M], None without auxiliary head)."""
        raw = self._describe(x)
        if self.training and self.classifier is not None and len(x) < 2:
            raise ValueError(f"x has {len(x)} picture; give at least 2 in training, for the batch norm")
        with torch.autocast(x.device.type, enabled=False):
            psi = self._fuse(raw, self._branches(raw))
            logits = None if self.classifier is None else self.classifier(raw[self.config[0]])
        return psi, logits

    def ranked(self, psi: Tensor) -> list[Tensor]:
        """What gets a ranking loss each, the losses being added: Psi itself, or the n Phi of framework A.

        Under A, Psi is the joined Phi divided by sqrt(n); cutting it gives them back, gradient included.
        """
        if not isinstance(psi, Tensor) or psi.ndim != 2 or psi.shape[1] != self.dim:
            shown = tuple(psi.shape) if isinstance(psi, Tensor) else described(psi)
            raise ValueError(f"psi is {shown}; give what forward returns, [B, {self.dim}]")
        if self.framework != "A":
            return [psi]
        return [phi * math.sqrt(len(self.config)) for phi in psi.split(self.branch_dim, dim=1)]

    def parts(self, x: Tensor) -> dict[str, Tensor]:
        """All that can be searched with: 'embedding' Psi, and 'branch_G' Phi and 'raw_G' f for each letter.

        Raw descriptors are not normalised. Framework B has no branches, only 'embedding' and raw descriptors.
        """
        raw = self._describe(x)
        with torch.autocast(x.device.type, enabled=False):
            phi = self._branches(raw)
            psi = self._fuse(raw, phi)
        return (
            {"embedding": psi}
            | {f"branch_{letter}": value for letter, value in phi.items()}
            | {f"raw_{letter}": value for letter, value in raw.items()}
        )

    def _describe(self, x: Tensor) -> dict[str, Tensor]:
        """Raw descriptor f (B, C) of each letter, Eq. (1), also under autocast in float32."""
        if not isinstance(x, Tensor):
            raise TypeError(f"x is {described(x)}; give pictures, a float32 tensor [B, 3, H, W]")
        features = self.backbone(x)
        if features.ndim == 4 and features.shape[1] != self.channels:
            raise ValueError(
                f"backbone.channels is {self.channels} but its map has shape {tuple(features.shape)}; give "
                "the backbone the channels of its map"
            )
        with torch.autocast(x.device.type, enabled=False):
            if features.dtype in (torch.float16, torch.bfloat16):
                features = features.float()
            raw = {}
            for letter in self.config:
                if letter == "S":
                    raw[letter] = spoc(features)
                elif letter == "M":
                    raw[letter] = mac(features)
                else:
                    raw[letter] = gem(features, self.p)
        return raw

    def _branches(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Phi (B, k) of each letter, Eq. (2); none under framework B."""
        if self.framework == "B":
            return {}
        return {letter: self.branches[letter](f) for letter, f in raw.items()}

    def _fuse(self, raw: dict[str, Tensor], phi: dict[str, Tensor]) -> Tensor:
        """Psi (B, dim): Eq. (3), or what Figure 2 and Table 4 set against it."""
        if self.framework == "B":
            return self.reduce(torch.cat(list(raw.values()), 1))
        # Framework A is tested with its branches joined, too: our reading, the paper does not say.
        if self.fusion == "concat":
            return normalize(torch.cat(list(phi.values()), 1), dim=1)
        return normalize(torch.stack(list(phi.values())).sum(0), dim=1)
