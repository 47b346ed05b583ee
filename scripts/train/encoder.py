"""The network: the lower layers of MiniLM under two heads, in plain PyTorch.

The layers are those of BERT (post-norm, erf GELU); the weights that it begins with are those of
all-MiniLM-L6-v2 (Apache-2.0), of which the upper layers are left out.
"""

from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

HIDDEN: Final = 384
HEADS: Final = 12
WINDOW: Final = 256
"""Tokens of one window, its two marks included."""
TAGS: Final = (
    "O",
    *(f"{place}-{name}" for name in ("PERSON", "ORG", "LOCATION", "ADDRESS") for place in "BI"),
)


class FusedAttention(torch.autograd.Function):
    """Attention as one operator of ONNX Runtime, which keeps no scores: for export alone."""

    @staticmethod
    def forward(_ctx: Any, query: Tensor, _key: Tensor, _value: Tensor) -> Tensor:
        """Return what has the shape of the result: all that a trace asks for."""
        return query

    @staticmethod
    def symbolic(graph: Any, *inputs: Any) -> Any:
        """Return the operator. Its type is told, since PyTorch does not know it."""
        made = graph.op("com.microsoft::MultiHeadAttention", *inputs, num_heads_i=HEADS)
        return made.setType(inputs[0].type())


class Layer(nn.Module):
    """Attention and feed-forward of one layer."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.out = nn.Linear(HIDDEN, HIDDEN)
        self.norm1 = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.up = nn.Linear(HIDDEN, inner)
        self.down = nn.Linear(inner, HIDDEN)
        self.norm2 = nn.LayerNorm(HIDDEN, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """``x`` is (batch, tokens, hidden); ``bias`` (batch, 1, 1, tokens) goes onto the scores."""
        batch, tokens, _ = x.shape
        if torch.onnx.is_in_onnx_export():
            seen: Tensor = FusedAttention.apply(*self.qkv(x).split(HIDDEN, -1))
        else:
            qkv = self.qkv(x).view(batch, tokens, 3, HEADS, HIDDEN // HEADS)
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
            seen = seen.transpose(1, 2).reshape(batch, tokens, HIDDEN)
        x = self.norm1(x + self.out(seen))
        return self.norm2(x + self.down(functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """Token ids and mask in; one injection logit per window and tag logits per token out."""

    def __init__(self, layers: int = 3, inner: int = 1536, words: int = 30_522) -> None:
        super().__init__()
        self.words = nn.Embedding(words, HIDDEN)
        self.places = nn.Embedding(512, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.drop = nn.Dropout(0.1)
        self.layers = nn.ModuleList([Layer(inner) for _ in range(layers)])
        self.look = nn.Linear(HIDDEN, 1)
        self.mix = nn.Linear(2 * HIDDEN, HIDDEN)
        self.injection = nn.Linear(HIDDEN, 1)
        self.tags = nn.Linear(HIDDEN, len(TAGS))

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``ids`` and ``mask`` are (windows, tokens) integers; logits are (windows,) and
        (windows, tokens, tags). Without a mask no window is padded: so it is exported."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.drop(self.norm(self.words(ids) + self.places(places)))
        if mask is None:
            for layer in self.layers:
                x = layer(x, None)
            weight, mean = self.look(x).softmax(1), x.mean(1)
        else:
            seen = mask.to(self.words.weight.dtype)
            bias = ((1.0 - seen) * -10_000.0)[:, None, None, :]
            for layer in self.layers:
                x = layer(x, bias)
            weight = (self.look(x)[..., 0] + bias[:, 0, 0]).softmax(-1)[..., None]
            mean = (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
        pooled = torch.cat([(x * weight).sum(1), mean], -1)
        logit = self.injection(self.drop(functional.gelu(self.mix(pooled))))[:, 0]
        return logit, self.tags(self.drop(x))


def begin(weights: Path, layers: int) -> Encoder:
    """Return an encoder with the lowest ``layers`` layers of a BERT's safetensors file."""
    found = load_file(weights)
    model = Encoder(layers=layers)
    with torch.no_grad():
        model.words.weight.copy_(found["embeddings.word_embeddings.weight"])
        kind = found["embeddings.token_type_embeddings.weight"][0]
        model.places.weight.copy_(found["embeddings.position_embeddings.weight"] + kind)
        _copy(model.norm, found, "embeddings.LayerNorm")
        for number, layer in enumerate(model.layers):
            at = f"encoder.layer.{number}."
            parts = [f"{at}attention.self.{part}" for part in ("query", "key", "value")]
            layer.qkv.weight.copy_(torch.cat([found[f"{part}.weight"] for part in parts]))
            layer.qkv.bias.copy_(torch.cat([found[f"{part}.bias"] for part in parts]))
            _copy(layer.out, found, f"{at}attention.output.dense")
            _copy(layer.norm1, found, f"{at}attention.output.LayerNorm")
            _copy(layer.up, found, f"{at}intermediate.dense")
            _copy(layer.down, found, f"{at}output.dense")
            _copy(layer.norm2, found, f"{at}output.LayerNorm")
    return model


def _copy(module: nn.Module, found: dict[str, Tensor], name: str) -> None:
    module.weight.copy_(found[f"{name}.weight"])
    module.bias.copy_(found[f"{name}.bias"])
