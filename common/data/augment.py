"""Augmentation of a whole batch of uint8 pictures on their device, with parameters drawn per picture.

    symbol   shape                  meaning
    pixels   (B, C, H, W) uint8     pictures, C = 1 (grey) or 3 (RGB)
    index    (B,) int64             row of each picture in its data set; fixes every draw, with seed, epoch
                                    and view
    window   (B, 4) int64           top, left, height, width of the part of the picture that fills the output
    theta    (B, 2, 3) float32      output position -> input position, both in [-1, 1], as affine_grid

The order is fixed: window (centre, random or resized crop), flip, affine map, brightness, contrast,
saturation, hue, grey, normalisation. torchvision's ColorJitter shuffles the four colour steps for each
picture; a fixed order lets one pass serve the batch. torchvision's transforms applied to a batch draw one set
of parameters for all pictures: not for us.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from common.data.counter import uniform

# Streams of random numbers, one per purpose. They are part of every result: never renumber.
WINDOW, FLIP, AFFINE, COLOUR, GREY = range(5)

ATTEMPTS = 10  # draws of a resized crop before the fallback, as torchvision's RandomResizedCrop

Statistics = float | tuple[float, float, float]


@dataclass(frozen=True)
class Draw:
    """What was drawn for each picture of a batch."""

    window: Tensor
    """(B, 4) int64 top, left, height, width in pixels of the input; outside the picture where it was
    padded."""
    flip: Tensor
    """(B,) bool."""
    affine: Tensor
    """(B, 5) float64: rotation (degrees), shift right and shift down (shares of the side), scale, shear
    (degrees)."""
    colour: Tensor
    """(B, 4) float32: factors of brightness, contrast and saturation (1 = unchanged), shift of hue
    (turns)."""
    grey: Tensor
    """(B,) bool."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """uint8 pictures in, normalised float32 pictures out; every default is 'off'."""

    size: int
    """Side of the pictures that come out, in pixels."""
    random_crop: bool = False
    """Window of size x size at a random whole-pixel offset (off: the centre)."""
    pad: int = 0
    """Pixels of `fill` added on each side before the random crop."""
    resized_crop: tuple[float, float] | None = None
    """Window of a random share of the area (low, high), resized to size x size: bilinear, without
    antialiasing, so keep stored pictures near `size`. The law of the draw is torchvision's
    RandomResizedCrop."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width / height of the resized crop, log-uniform."""
    flip: float = 0.0
    """Probability of a left-right flip."""
    rotate: float = 0.0
    """Rotation in degrees, uniform in [-rotate, rotate], about the centre."""
    translate: float = 0.0
    """Shift as a share of the side, uniform in [-translate, translate], right and down drawn apart."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Magnification, uniform in (low, high)."""
    shear: float = 0.0
    """Horizontal shear in degrees, uniform in [-shear, shear]."""
    fill: int = 0
    """Value 0 .. 255 of what lies outside the picture (0: black, and the paper of drawings)."""
    brightness: float = 0.0
    """Factor uniform in [max(0, 1 - brightness), 1 + brightness]."""
    contrast: float = 0.0
    """Likewise, about the mean grey value of the picture."""
    saturation: float = 0.0
    """Likewise, about the grey picture; grey pictures stay as they are."""
    hue: float = 0.0
    """Hue shift in turns, uniform in [-hue, hue], at most 0.5; grey pictures stay as they are."""
    jitter: float = 1.0
    """Probability that the four colour steps are applied to a picture at all."""
    grey: float = 0.0
    """Probability that a picture loses its colour."""
    mean: Statistics = 0.0
    """Subtracted from values in [0, 1]: one number, or one for each of red, green, blue."""
    std: Statistics = 1.0
    """Divisor after that."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size = {self.size}: a picture has at least 1 pixel")
        if self.pad < 0:
            raise ValueError(f"pad = {self.pad}: give 0 or more pixels")
        if self.pad and not self.random_crop:
            raise ValueError(f"pad = {self.pad} has no effect without random_crop=True; set both or neither")
        if self.random_crop and self.resized_crop is not None:
            raise ValueError("random_crop and resized_crop exclude each other; choose one")
        if self.resized_crop is not None:
            _check_range("resized_crop", self.resized_crop, highest=1.0)
        _check_range("ratio", self.ratio)
        _check_range("scale", self.scale)
        for name in ("flip", "jitter", "grey"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} = {getattr(self, name)} is a probability: choose a number in [0, 1]"
                )
        limits = {"rotate": 180.0, "translate": 1.0, "shear": 89.0, "hue": 0.5, "fill": 255}
        limits |= dict.fromkeys(("brightness", "contrast", "saturation"), math.inf)
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"{name} = {getattr(self, name)}: choose a number in [0, {limit}]")
        _statistics(self.mean, self.std, torch.device("cpu"))

    @property
    def resamples(self) -> bool:
        """Whether pictures are interpolated; otherwise every output pixel is an input pixel or `fill`."""
        return self.resized_crop is not None or self._warps

    @property
    def _warps(self) -> bool:
        return self.rotate > 0 or self.translate > 0 or self.shear > 0 or self.scale != (1.0, 1.0)

    @property
    def _jitters(self) -> bool:
        return max(self.brightness, self.contrast, self.saturation, self.hue) > 0 and self.jitter > 0

    def __call__(self, pixels: Tensor, index: Tensor, seed: int, epoch: int, view: int = 0) -> Tensor:
        """[B, C, H, W] uint8, [B] int64 -> [B, 3, size, size] float32 on the device of pixels.

        Row b is a function of (pixels[b], index[b], seed, epoch, view) alone; view numbers the versions of
        one picture that a loss compares. Draws are made on the device of index: an index on the CPU spares a
        GPU some hundred small kernels. Raises TypeError or ValueError for other inputs.
        """
        _check_pixels(pixels)
        if index.shape != pixels.shape[:1]:
            raise ValueError(
                f"index {tuple(index.shape)} and pixels {tuple(pixels.shape)}: one index per picture"
            )
        draw = self.draw(index, pixels.shape[2], pixels.shape[3], seed, epoch, view)
        device = pixels.device

        if self.resamples:
            theta = affine_map(draw, pixels.shape[2], pixels.shape[3]).to(device, non_blocking=True)
            # A resized crop alone ends at its window, as crop-then-resize does; an affine map looks beyond.
            x = resample(pixels, theta, self.size, fill=self.fill, clamp=not self._warps)
        else:
            x = self._cut(pixels, draw)
        x = _unit(x)  # (B, C, size, size) in [0, 1]

        if self._jitters:
            b, c, s, h = draw.colour.to(device, non_blocking=True).unbind(1)
            x = adjust_brightness(x, b) if self.brightness else x
            x = adjust_contrast(x, c) if self.contrast else x
            x = adjust_saturation(x, s) if self.saturation else x
            x = adjust_hue(x, h) if self.hue else x
        if self.grey and x.shape[1] == 3:
            x = torch.where(draw.grey.to(device, non_blocking=True)[:, None, None, None], luminance(x), x)
        return _standardise(x, self.mean, self.std)

    def draw(self, index: Tensor, height: int, width: int, seed: int, epoch: int, view: int = 0) -> Draw:
        """The parameters of pictures `index` of height x width pixels; what is off is drawn as its identity.

        float64, so that the last bit of a sine, which may differ with the length of a vector, is rounded
        away.
        """
        n, device = len(index), index.device

        def between(u: Tensor, low: float, high: float) -> Tensor:
            return low + (high - low) * u.double()

        window = self._window(index, height, width, seed, epoch, view)
        flip = torch.zeros(n, dtype=torch.bool, device=device)
        if self.flip:
            flip = uniform(seed, epoch, index, FLIP, 1, view)[:, 0] < self.flip
        affine = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0], dtype=torch.float64).to(device).expand(n, 5)
        if self._warps:
            u = uniform(seed, epoch, index, AFFINE, 5, view)
            reach = (self.rotate, self.translate, self.translate)
            columns = [between(u[:, i], -r, r) for i, r in enumerate(reach)]
            affine = torch.stack(
                [*columns, between(u[:, 3], *self.scale), between(u[:, 4], -self.shear, self.shear)], 1
            )
        colour = torch.tensor([1.0, 1.0, 1.0, 0.0]).to(device).expand(n, 4)
        if self._jitters:
            u = uniform(seed, epoch, index, COLOUR, 5, view)
            factors = (self.brightness, self.contrast, self.saturation)
            columns = [between(u[:, i], max(0.0, 1 - f), 1 + f) for i, f in enumerate(factors)]
            drawn = torch.stack([*columns, between(u[:, 3], -self.hue, self.hue)], 1).float()
            colour = torch.where(u[:, 4:] < self.jitter, drawn, colour)
        grey = torch.zeros(n, dtype=torch.bool, device=device)
        if self.grey:
            grey = uniform(seed, epoch, index, GREY, 1, view)[:, 0] < self.grey
        return Draw(window=window, flip=flip, affine=affine, colour=colour, grey=grey)

    def _window(self, index: Tensor, height: int, width: int, seed: int, epoch: int, view: int) -> Tensor:
        """(B, 4) int64 top, left, height, width."""
        size, pad = self.size, self.pad
        if self.resized_crop is not None:
            u = uniform(seed, epoch, index, WINDOW, 2 * ATTEMPTS + 2, view)
            return self._resized_window(u, height, width)
        if not self.random_crop:
            fixed = (*centre(height, width, size), size, size)
            return torch.tensor(fixed).to(index.device).expand(len(index), 4)
        if min(height, width) + 2 * pad < size:
            raise ValueError(
                f"pictures of {height} x {width} pixels with pad = {pad} are smaller than size = {size}; "
                "load them larger or choose a smaller size"
            )
        room = torch.tensor([height, width]).to(index.device) + (2 * pad - size + 1)  # (2,) positions
        corner = (uniform(seed, epoch, index, WINDOW, 2, view) * room).long() - pad  # (B, 2)
        return torch.cat([corner, torch.full_like(corner, size)], 1)

    def _resized_window(self, u: Tensor, height: int, width: int) -> Tensor:
        """torchvision's RandomResizedCrop: the first of ten (area, ratio) that fits, else the centre; u (B,
        22)."""
        assert self.resized_crop is not None
        u = u.double()
        low, high = self.resized_crop
        area = height * width * (low + (high - low) * u[:, :ATTEMPTS])  # (B, 10)
        least, most = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = torch.exp(least + (most - least) * u[:, ATTEMPTS : 2 * ATTEMPTS])
        w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
        first = fits.int().argmax(1, keepdim=True)  # (B, 1); 0 where none fits
        w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]  # (B,)
        corner = [u[:, -2] * (height - h + 1), u[:, -1] * (width - w + 1)]
        drawn = torch.stack([corner[0].floor(), corner[1].floor(), h, w], 1).long()
        # No draw fits (extreme shares, long pictures): the largest centred window of the nearest allowed
        # ratio.
        shape = width / height
        if shape < self.ratio[0]:
            h0, w0 = min(height, max(1, round(width / self.ratio[0]))), width
        elif shape > self.ratio[1]:
            h0, w0 = height, min(width, max(1, round(height * self.ratio[1])))
        else:
            h0, w0 = height, width
        whole = torch.tensor([(height - h0) // 2, (width - w0) // 2, h0, w0]).to(u.device)
        return torch.where(fits.any(1, keepdim=True), drawn, whole)

    def _cut(self, pixels: Tensor, draw: Draw) -> Tensor:
        """(B, C, size, size) uint8: windows and flips without interpolation."""
        size, pad, device = self.size, self.pad, pixels.device
        if self.random_crop:
            padded = F.pad(pixels, (pad, pad, pad, pad), value=self.fill) if pad else pixels
            top, left = (draw.window[:, :2] + pad).to(device, non_blocking=True).unbind(1)
            windows = padded.unfold(2, size, 1).unfold(3, size, 1)  # (B, C, tops, lefts, size, size), a view
            x = windows[torch.arange(len(pixels), device=device), :, top, left]
        else:
            top, left = centre(pixels.shape[2], pixels.shape[3], size)
            x = pixels[:, :, top : top + size, left : left + size]
        if self.flip:
            x = torch.where(draw.flip.to(device, non_blocking=True)[:, None, None, None], x.flip(3), x)
        return x


def normalise(pixels: Tensor, size: int, mean: Statistics = 0.0, std: Statistics = 1.0) -> Tensor:
    """[B, C, H, W] uint8 -> [B, 3, size, size] float32: centre crop, values to [0, 1], minus mean, over std.

    What evaluation sees, and bit for bit what Augment(size=size, mean=mean, std=std) gives.
    ValueError when the pictures are smaller than size.
    """
    _check_pixels(pixels)
    top, left = centre(pixels.shape[2], pixels.shape[3], size)
    return _standardise(_unit(pixels[:, :, top : top + size, left : left + size]), mean, std)


def centre(height: int, width: int, size: int) -> tuple[int, int]:
    """Top and left of the central size x size window (torchvision's center_crop); ValueError when it does not
    fit."""
    if min(height, width) < size:
        raise ValueError(
            f"pictures of {height} x {width} pixels are smaller than size = {size}; "
            "load them larger or choose a smaller size"
        )
    return round((height - size) / 2), round((width - size) / 2)


# Geometry: one map from output to input, one interpolation.


def affine_map(draw: Draw, height: int, width: int) -> Tensor:
    """theta (B, 2, 3) float32 of window, flip and affine map together, for inputs of height x width pixels.

    The affine map takes the (flipped) window to the output: about the centre it is
    scale * [[cos r, -sin r], [sin r, cos r]] [[1, -tan s], [0, 1]], then the shift (x right, y down, as
    torchvision.transforms.functional.affine with shear (s, 0)). theta is its inverse followed by the flip and
    the window.
    """
    top, left, h, w = draw.window.double().unbind(1)
    angle, dx, dy, scale, shear = draw.affine.unbind(1)
    r, s = torch.deg2rad(angle), torch.deg2rad(shear)
    # Inverse of the 2 x 2 part: its determinant is scale^2.
    xx = (torch.cos(r) - torch.sin(r) * torch.tan(s)) / scale
    xy = (torch.sin(r) + torch.cos(r) * torch.tan(s)) / scale
    yx, yy = -torch.sin(r) / scale, torch.cos(r) / scale
    across = (w / width) * torch.where(draw.flip, -1.0, 1.0)  # flip mirrors the window, not the output
    down = h / height
    rows = []
    for a, b, middle in (
        (xx * across, xy * across, (2 * left + w) / width - 1),
        (yx * down, yy * down, (2 * top + h) / height - 1),
    ):
        rows.append(
            torch.stack([a, b, middle - 2 * (a * dx + b * dy)], 1)
        )  # a share of the side is 2 in [-1, 1]
    return torch.stack(rows, 1).float()


def resample(pixels: Tensor, theta: Tensor, size: int, *, fill: int = 0, clamp: bool = False) -> Tensor:
    """[B, C, H, W] uint8 -> [B, C, size, size] float32 in 0 .. 255: bilinear, `fill` outside the picture.

    clamp: positions are held inside the window that theta spans (axis-parallel theta), so that nothing bleeds
    in from beside it: crop, then resize, in one step.
    """
    b, _, height, width = pixels.shape
    at = (torch.arange(size, device=pixels.device) * 2 + 1).float() / size - 1  # (size,) pixel centres
    grid = torch.empty(b, size, size, 2, device=pixels.device)
    # Sums of products written out: affine_grid's batched product may round differently with the batch size.
    for axis, side in enumerate((width, height)):
        along_x, along_y, middle = theta[:, axis, :, None, None].unbind(1)  # (B, 1, 1) each
        position = along_x * at + (along_y * at[:, None] + middle)  # (B, size, size)
        if clamp:
            half = (along_x.abs() + along_y.abs() - 1 / side).clamp(
                min=0
            )  # to the centres of the outermost pixels
            position = torch.minimum(torch.maximum(position, middle - half), middle + half)
        grid[..., axis] = position
    x = pixels.to(torch.float32)
    if fill:
        return (
            F.grid_sample(x - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + fill
        )
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


# Colour: x is [B, C, H, W] in [0, 1], one factor per picture. Semantics of
# torchvision.transforms.v2.functional.


def luminance(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, 1, H, W]: 0.2989 R + 0.587 G + 0.114 B (ITU-R BT.601, as torchvision); grey stays
    as it is."""
    if x.shape[1] == 1:
        return x
    return 0.2989 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """x * factor, clipped to [0, 1]; factor [B]."""
    return (x * factor[:, None, None, None]).clamp_(0, 1)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Distance from the mean luminance of the picture times factor [B], clipped to [0, 1]."""
    # Summed as whole numbers of 2^-20: the result cannot depend on the order, so not on threads or batch
    # size.
    grey = luminance(x)
    total = (grey * 2.0**20).round_().to(torch.int32).sum((1, 2, 3), dtype=torch.int64)  # (B,)
    mean = total.float() / (2.0**20 * grey[0].numel())
    return _blend(x, mean[:, None, None, None], factor)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Distance from the grey picture times factor [B], clipped to [0, 1]; C = 1 is returned as it is."""
    return x if x.shape[1] == 1 else _blend(x, luminance(x), factor)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Hue + shift [B] in turns, in HSV; C = 1 is returned as it is.

    Value V = max and chroma max - min stay. With H' = 6 hue, channel c is V - chroma * clip(min(k, 4 - k), 0,
    1), k = (n_c + H') mod 6, n = 5, 3, 1 for red, green, blue.
    """
    if x.shape[1] == 1:
        return x
    r, g, b = x.unbind(1)  # (B, H, W)
    value = x.amax(1)
    chroma = value - x.amin(1)
    safe = torch.where(chroma == 0, 1.0, chroma)  # a grey pixel has no hue: chroma 0 cancels it below
    sector = torch.where(value == g, (b - r).div_(safe).add_(2), (r - g).div_(safe).add_(4))
    sector = torch.where(value == r, (g - b).div_(safe), sector)  # H' in [-1, 5]
    sector += 6 * shift[:, None, None]
    out = torch.empty_like(x)
    for channel, n in enumerate((5, 3, 1)):
        k = sector + n
        k -= 6 * (k / 6).floor_()  # mod 6; torch.remainder is several times slower on a CPU
        torch.sub(value, torch.minimum(k, 4 - k).clamp_(0, 1).mul_(chroma), out=out[:, channel])
    return out


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    factor = factor[:, None, None, None]
    return (factor * x).add_((1 - factor) * other).clamp_(0, 1)


def _unit(x: Tensor) -> Tensor:
    """Values 0 .. 255, uint8 or a float32 tensor of our own (overwritten), to float32 in [0, 1]."""
    return x.to(torch.float32).div_(255)


def _standardise(x: Tensor, mean: Statistics, std: Statistics) -> Tensor:
    """[B, C, s, s] in [0, 1] -> [B, 3, s, s], contiguous; a grey picture becomes three channels here."""
    centre_of, spread = _statistics(mean, std, x.device)
    return (x - centre_of).div_(spread)


def _statistics(mean: Statistics, std: Statistics, device: torch.device) -> tuple[Tensor, Tensor]:
    """mean and std as (1, 3, 1, 1) float32."""
    both = []
    for name, value in (("mean", mean), ("std", std)):
        three = (value,) * 3 if isinstance(value, (int, float)) else tuple(value)
        if len(three) != 3 or not all(math.isfinite(v) for v in three):
            raise ValueError(f"{name} = {value}: give one finite number, or three for red, green, blue")
        if name == "std" and min(three) <= 0:
            raise ValueError(f"std = {value}: every value must be positive")
        both.append(torch.tensor(three, dtype=torch.float32).to(device, non_blocking=True).view(1, 3, 1, 1))
    return both[0], both[1]


def _check_range(name: str, pair: tuple[float, float], highest: float = math.inf) -> None:
    low, high = pair
    if not 0 < low <= high <= highest:
        raise ValueError(f"{name} = {pair}: give (low, high) with 0 < low <= high <= {highest}")


def _check_pixels(pixels: Tensor) -> None:
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        raise TypeError(
            f"pixels must be uint8 [B, C, H, W] with C = 1 or 3, got {pixels.dtype} {tuple(pixels.shape)}"
        )
