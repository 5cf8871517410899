"""Positional embeddings of image towers, resized to other grids and to images of any size."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional


class Rows(torch.nn.Module):
    """Add a positional embedding, its table resized along the rows, as one grey picture, to the number of tokens.

    That is what CLIP-IQA, pyiqa and QualiCLIP do: the class token's row is resized like any other.
    """

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table.detach().clone(), requires_grad=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Add the rows to tokens (B, N, C)."""
        size = (tokens.shape[1], self.table.shape[1])
        return tokens + functional.interpolate(self.table[None, None], size, mode="bicubic")[0, 0]


class AnySizePool(torch.nn.Module):
    """CLIP's attention pool with `Rows` in place of a positional embedding for one size."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.pool, self.rows = pool, Rows(pool.positional_embedding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool (B, C, H, W) to (B, D)."""
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.rows(torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1))
        projected = (self.pool.q_proj(tokens[:, :1]), self.pool.k_proj(tokens), self.pool.v_proj(tokens))
        heads = [part.unflatten(-1, (self.pool.num_heads, -1)).transpose(1, 2) for part in projected]
        seen = functional.scaled_dot_product_attention(*heads)
        return self.pool.c_proj(seen.transpose(1, 2).flatten(1))


def take_any_size(visual: Any) -> None:
    """Make open_clip's own ResNets and ViTs resize their positional embedding along the rows for each image."""
    if hasattr(visual, "attnpool"):
        visual.attnpool = AnySizePool(visual.attnpool)
        return
    table = visual.positional_embedding
    visual.positional_embedding = torch.nn.Parameter(torch.zeros_like(table[:1]), requires_grad=False)
    visual.patch_dropout = Rows(table)  # which comes right after the positional embedding, for training only


def resize_grid(table: torch.Tensor, grid: Sequence[int], new: Sequence[int]) -> torch.Tensor:
    """Resize a positional embedding's grid, bicubic and antialiased as open_clip does, the class row apart."""
    image = table[1:].T.reshape(1, -1, *grid)
    image = functional.interpolate(image, new, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([table[:1], image.reshape(table.shape[1], -1).T])
