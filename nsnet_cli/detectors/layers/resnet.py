"""ResNets of bottlenecks (He et al., CVPR 2016, arXiv 1512.03385), as wide and as deep as a detector wants them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nsnet_cli.detectors.layers.network import LocalNetwork

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, ``kernel`` x ``kernel``, 1x1 with a shortcut; ``EXPANSION * width`` channels come out.

    Without ``padding`` the map shrinks by the kernel's border, and the shortcut with it: nothing is seen that is not in
    the picture.
    """

    def __init__(self, channels: int, width: int, stride: int = 1, kernel: int = 3, padding: bool = True) -> None:
        super().__init__()
        out = EXPANSION * width
        border = kernel // 2
        self.trimmed = 0 if padding else border
        self.reduce = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True))
        self.spread = nn.Sequential(
            nn.Conv2d(width, width, kernel, stride, border if padding else 0, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(True),
        )
        self.expand = nn.Sequential(nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.act = nn.ReLU(True)

    def forward(self, x: Tensor) -> Tensor:
        beside = x[:, :, self.trimmed : -self.trimmed, self.trimmed : -self.trimmed] if self.trimmed else x
        return self.act(self.expand(self.spread(self.reduce(x))) + self.shortcut(beside))


def stage(channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
    """``depth`` bottlenecks, the first with the ``stride``."""
    first = Bottleneck(channels, width, stride)
    return nn.Sequential(first, *(Bottleneck(EXPANSION * width, width) for _ in range(depth - 1)))


def stem(channels: int, width: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution, norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)
    )


class ResNet(LocalNetwork):
    """``stem`` of ``width`` channels, stages of the given ``depths``, each half as fine and twice as wide as the one
    before but for the first, and a linear layer on the mean over the map.

    `residual` is what a detector makes of its views first.
    """

    def __init__(self, entry: nn.Module, width: int, depths: Sequence[int]) -> None:
        super().__init__()
        self.entry = entry
        stages: list[nn.Module] = []
        channels = width
        for number, depth in enumerate(depths):
            stages.append(stage(channels, width * 2**number, depth, 2 if number else 1))
            channels = EXPANSION * width * 2**number
        self.stages = nn.Sequential(*stages)
        self.score = nn.Conv2d(channels, 1, 1)
        initialise(self)

    def residual(self, pixels: Tensor) -> Tensor:
        """``(N, channels, H, W)`` float32 of views ``(N, 3, S, S)`` uint8."""
        raise NotImplementedError

    def local(self, pixels: Tensor) -> Tensor:
        return self.score(self.stages(self.entry(self.residual(pixels))))[:, 0].float()


def initialise(network: nn.Module) -> None:
    """He's initialisation; a bottleneck begins as its shortcut (Goyal et al., arXiv 1706.02677), and a convolution to a
    score as nothing: by He's rule, which goes by what comes out, scores of hundreds of channels would begin huge."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            if module.out_channels == 1:
                nn.init.zeros_(module.weight)
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.expand[1].weight)  # type: ignore[arg-type]


@torch.no_grad()
def begin_as_differences(convolution: nn.Module) -> None:
    """Take the mean out of each kernel, so that it begins as a difference of neighbours, which is where traces are;
    with weights of ImageNet to begin with such kernels would be among them."""
    assert isinstance(convolution, nn.Conv2d)
    convolution.weight -= convolution.weight.mean((2, 3), keepdim=True)
