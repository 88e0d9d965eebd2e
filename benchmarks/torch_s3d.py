"""S3D and S3D-G in PyTorch, written from the papers, with the names of the published weights.

The peer of `videobert_jax.video.backbones.s3d` in parity tests and speed comparisons. Inputs are
float32 [g, 3, s, y, x], pixels scaled already.
"""

import torch
from torch import nn
from torch.nn import functional

# Output channels of the Inception modules 3b to 5c: 1x1, reduction, 3x3x3, reduction, 3x3x3, 1x1.
CHANNELS = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


def width(channels: tuple[int, ...]) -> int:
    """Channels that come out of a module."""
    return channels[0] + channels[2] + channels[4] + channels[5]


def inputs() -> list[int]:
    """Channels that go into the modules."""
    return [192, *(width(channels) for channels in CHANNELS[:-1])]


# ---- torchvision's s3d: Kinetics-400


def normed(c: int, c2: int, size: tuple, stride: tuple, padding: tuple) -> nn.Sequential:
    convolution = nn.Conv3d(c, c2, size, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(c2, eps=1e-3), nn.ReLU())


def pointwise(c: int, c2: int) -> nn.Sequential:
    return normed(c, c2, (1, 1, 1), (1, 1, 1), (0, 0, 0))


def separable(c: int, c2: int, k: int, stride: int) -> nn.Sequential:
    space = normed(c, c2, (1, k, k), (1, stride, stride), (0, k // 2, k // 2))
    return nn.Sequential(space, normed(c2, c2, (k, 1, 1), (stride, 1, 1), (k // 2, 0, 0)))


class KineticsModule(nn.Module):
    def __init__(self, c: int, channels: tuple[int, ...]):
        super().__init__()
        c0, c1a, c1b, c2a, c2b, c3 = channels
        self.branch0 = pointwise(c, c0)
        self.branch1 = nn.Sequential(pointwise(c, c1a), separable(c1a, c1b, 3, 1))
        self.branch2 = nn.Sequential(pointwise(c, c2a), separable(c2a, c2b, 3, 1))
        self.branch3 = nn.Sequential(nn.MaxPool3d(3, 1, 1), pointwise(c, c3))

    def forward(self, x):
        branches = (self.branch0, self.branch1, self.branch2, self.branch3)
        return torch.cat([branch(x) for branch in branches], dim=1)


class KineticsS3D(nn.Module):
    """(features [g, 1024], logits [g, 400]) of normalised clips."""

    def __init__(self):
        super().__init__()
        mixed = [KineticsModule(c, own) for c, own in zip(inputs(), CHANNELS, strict=True)]
        self.features = nn.Sequential(
            separable(3, 64, 7, 2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            pointwise(64, 64),
            separable(64, 192, 3, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *mixed[:2],
            nn.MaxPool3d(3, 2, 1),
            *mixed[2:7],
            nn.MaxPool3d(2, 2),
            *mixed[7:],
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Conv3d(1024, 400, 1))

    def forward(self, clips):
        averages = functional.avg_pool3d(self.features(clips), (2, 7, 7), 1)
        logits = self.classifier(averages).mean((2, 3, 4))
        return averages.mean((2, 3, 4)), logits


# ---- MIL-NCE's S3D-G: HowTo100M


class Unit(nn.Module):
    def __init__(self, c: int, c2: int, size: tuple = (1, 1, 1), padding: tuple = (0, 0, 0)):
        super().__init__()
        self.conv1 = nn.Conv3d(c, c2, size, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm3d(c2)

    def forward(self, x):
        return functional.relu(self.bn1(self.conv1(x)))


class SeparableUnit(Unit):
    def __init__(self, c: int, c2: int):
        super().__init__(c, c2, (1, 3, 3), (0, 1, 1))
        self.conv2 = nn.Conv3d(c2, c2, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.bn2 = nn.BatchNorm3d(c2)

    def forward(self, x):
        return functional.relu(self.bn2(self.conv2(super().forward(x))))


class Gate(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.fc = nn.Linear(c, c)

    def forward(self, x):
        return x * torch.sigmoid(self.fc(x.mean((2, 3, 4))))[..., None, None, None]


class GatedModule(nn.Module):
    def __init__(self, c: int, channels: tuple[int, ...]):
        super().__init__()
        c0, c1a, c1b, c2a, c2b, c3 = channels
        self.conv_b0, self.gating_b0 = Unit(c, c0), Gate(c0)
        self.conv_b1_a, self.conv_b1_b = Unit(c, c1a), SeparableUnit(c1a, c1b)
        self.conv_b2_a, self.conv_b2_b = Unit(c, c2a), SeparableUnit(c2a, c2b)
        self.conv_b3_b = Unit(c, c3)
        self.gating_b1, self.gating_b2, self.gating_b3 = Gate(c1b), Gate(c2b), Gate(c3)

    def forward(self, x):
        branches = (
            self.gating_b0(self.conv_b0(x)),
            self.gating_b1(self.conv_b1_b(self.conv_b1_a(x))),
            self.gating_b2(self.conv_b2_b(self.conv_b2_a(x))),
            self.gating_b3(self.conv_b3_b(functional.max_pool3d(x, 3, 1, 1))),
        )
        return torch.cat(branches, dim=1)


def pool_behind(x, size: tuple[int, int, int], stride: tuple[int, int, int]):
    """Zeros behind (what goes in is never negative), and a last window that may be cut."""
    pads = [max(k - d, 0) for k, d in zip(reversed(size), reversed(stride), strict=True)]
    padded = functional.pad(x, [n for pad in pads for n in (pad // 2, pad - pad // 2)])
    return functional.max_pool3d(padded, size, stride, ceil_mode=True)


class TextModule(nn.Module):
    def __init__(self, words: int):
        super().__init__()
        self.word_embd = nn.Embedding(words, 300)
        self.fc1, self.fc2 = nn.Linear(300, 2048), nn.Linear(2048, 512)

    def forward(self, ids):
        return self.fc2(functional.relu(self.fc1(self.word_embd(ids))).amax(dim=1))


class HowTo100MS3D(nn.Module):
    """(features [g, 1024], embeddings [g, 512]) of clips with pixels in [0, 1]."""

    def __init__(self, words: int = 66250):
        super().__init__()
        self.conv1 = Unit(24, 64, (2, 4, 4), (1, 2, 2))
        self.conv_2b, self.conv_2c, self.gating = Unit(64, 64), SeparableUnit(64, 192), Gate(192)
        names = "3b 3c 4b 4c 4d 4e 4f 5b 5c".split()
        for name, c, own in zip(names, inputs(), CHANNELS, strict=True):
            setattr(self, f"mixed_{name}", GatedModule(c, own))
        self.fc = nn.Linear(1024, 512)
        self.text_module = TextModule(words)

    def forward(self, clips):
        blocks = clips.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2)  # [g, 3, s, y, x, 2, 2, 2]
        x = self.conv1(blocks.permute(0, 5, 6, 7, 1, 2, 3, 4).flatten(1, 4))[:, :, 1:, 1:, 1:]
        x = self.conv_2b(pool_behind(x, (1, 3, 3), (1, 2, 2)))
        x = pool_behind(self.gating(self.conv_2c(x)), (1, 3, 3), (1, 2, 2))
        x = pool_behind(self.mixed_3c(self.mixed_3b(x)), (3, 3, 3), (2, 2, 2))
        for module in (self.mixed_4b, self.mixed_4c, self.mixed_4d, self.mixed_4e, self.mixed_4f):
            x = module(x)
        x = self.mixed_5c(self.mixed_5b(pool_behind(x, (2, 2, 2), (2, 2, 2))))
        features = x.mean((2, 3, 4))
        return features, self.fc(features)


def randomize(network: nn.Module, seed: int) -> nn.Module:
    """The network in evaluation, with random weights that keep the size of what flows through it,
    and random statistics of its norms."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            deviation = (2 / module.weight[0].numel()) ** 0.5
            module.weight.data.normal_(0, deviation, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm3d):
            module.weight.data.uniform_(0.8, 1.2, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()
