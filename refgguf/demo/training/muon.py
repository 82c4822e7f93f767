"""The optimiser: Muon for the matrices of the layers, Adam for the embedding and the norms.

Muon (Keller Jordan, 2024, https://kellerjordan.github.io/posts/muon/) takes the momentum of a matrix and
makes it nearly orthogonal by a few Newton-Schulz steps, so that every direction is learned at the same pace.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The quintic's coefficients: steepest at zero while singular values still end near one (same source).
A, B, C = 3.4445, -4.7750, 2.0315


def matrix_dtype(device: str) -> torch.dtype:
    """bfloat16 where the device multiplies it fast; float32 on a CPU without AVX-512, which only emulates it."""
    slow = device == "cpu" and not torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return torch.float32 if slow else torch.bfloat16


@torch.no_grad()
def orthogonal(stack: Tensor, steps: int = 5) -> Tensor:
    """Nearly orthogonal matrices with the singular vectors of stack (matrix, rows, columns)."""
    x = stack.to(matrix_dtype(stack.device.type))
    flip = x.shape[1] > x.shape[2]
    if flip:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = A * x + (B * gram + C * (gram @ gram)) @ x
    return (x.mT if flip else x).float()


class Optimiser:
    """Both optimisers behind one `step(rate)`; `rate` runs from 0 to 1 and scales both learning rates."""

    def __init__(self, net: nn.Module, muon_lr: float, adam_lr: float, decay: float) -> None:
        self.muon_lr, self.adam_lr, self.decay, self.momentum = muon_lr, adam_lr, decay, 0.95
        named = list(net.named_parameters())
        self.groups: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for name, weight in named:
            if weight.ndim == 2 and "embd" not in name:
                self.groups.setdefault(tuple(weight.shape), []).append(weight)
        others = [weight for name, weight in named if weight.ndim != 2 or "embd" in name]
        self.moments = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}
        self.adam = torch.optim.Adam(others, lr=adam_lr, betas=(0.9, 0.98), eps=1e-10)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Change the weights by their gradients, and forget the gradients."""
        for shape, group in self.groups.items():
            moment = self.moments[shape]
            gradient = torch.stack([weight.grad for weight in group])
            moment.lerp_(gradient, 1 - self.momentum)
            update = orthogonal(gradient.lerp_(moment, self.momentum))
            size = max(1.0, shape[0] / shape[1]) ** 0.5
            for weight, change in zip(group, update.unbind(), strict=True):
                weight.mul_(1 - rate * self.muon_lr * self.decay)
                weight.add_(change, alpha=-rate * self.muon_lr * size)
                weight.grad = None
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> dict:
        """All that is needed to go on later."""
        return {"moments": self.moments, "adam": self.adam.state_dict()}

    def load(self, state: dict) -> None:
        """Go on from a saved state."""
        self.moments = state["moments"]
        self.adam.load_state_dict(state["adam"])
