"""One transformer over words and regions together: UNITER, VisualBERT and their kin."""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, nn

from vl.batch import Batch, Encoded, Text, Visual
from vl.models.base import VLModel
from vl.models.bert import BertEncoder, BertLayer
from vl.models.embed import TextEmbedder, VisualEmbedder
from vl.models.masks import attention_mask
from vl.models.packing import Packing, join
from vl.models.poolers import Pooler


class SingleStream(VLModel):
    """Words and regions are embedded, stand in one row, and run through one encoder.

    Padding is never computed. A text or picture that stands in several rows (`Batch.pairs`) is embedded once; a batch
    may also lack either side. `Batch.attention` chooses who looks at whom.

    Args:
        text: embeds words.
        visual: embeds regions, such as `UniterRegions`, or pixels with `TimmGrid`.
        encoder: the transformer.
        pooler: of the first word; None for no `pooled`.

    Raises:
        ValueError: the widths differ.
    """

    block_classes = (BertLayer,)

    def __init__(
        self, text: TextEmbedder, visual: VisualEmbedder, encoder: BertEncoder, pooler: Pooler | None = None
    ) -> None:
        super().__init__()
        widths = {"text": text.width, "visual": visual.width, "encoder": encoder.width}
        if len(set(widths.values())) > 1:
            raise ValueError(f"one stream has one width, but they are {widths}")
        self.text, self.visual, self.encoder, self.pooler = text, visual, encoder, pooler
        self.width = self.visual_width = encoder.width
        self.pooled_width = pooler.width if pooler else None
        self.vocab_size, self.context_length = text.vocab_size, text.context_length
        self.image_size = visual.image_size
        pooled = {"pooled"} if pooler else set()
        self.provides = frozenset({"text", "visual", "word_embedding", "visual_projection"} | pooled)

    @property
    def word_embedding(self) -> nn.Embedding:
        """The table that masked language modelling ties its decoder to."""
        return self.text.word

    @property
    def visual_projection(self) -> nn.Linear:
        """The map from region features, whose transpose feature regression ties to."""
        return self.visual.projection

    def forward(self, batch: Batch) -> Encoded:
        """Words, regions and the pooled vector of every row, padded."""
        text_rows, visual_rows = (None, None) if batch.pairs is None else batch.pairs.unbind(1)
        parts, num_words = [], 0
        if batch.text is not None:
            parts.append((*self.embed_text(batch.text), text_rows))
            num_words = batch.text.ids.shape[1]
        if batch.visual is not None:
            parts.append((*self.embed_visual(batch.visual), visual_rows))
        x, packing = join(*parts)
        x = packing.pad(self.encoder(x, packing, attention_mask(batch.attention, packing, num_words)))
        first_region = num_words + self.visual.num_extra
        return Encoded(
            text=None if batch.text is None else x[:, :num_words],
            visual=None if batch.visual is None else x[:, first_region:],
            pooled=None if self.pooler is None else self.pooler(x[:, 0], None),
        )

    def embed_text(self, text: Text) -> tuple[Float[Tensor, "n d"], Packing]:
        """Texts as far as they can be computed without a picture."""
        return self.text(text)

    def embed_visual(self, visual: Visual) -> tuple[Float[Tensor, "n d"], Packing]:
        """Pictures as far as they can be computed without a text."""
        return self.visual(visual, self.text)

    def pooled(
        self, text: tuple[Float[Tensor, "n d"], Packing], visual: tuple[Float[Tensor, "m d"], Packing]
    ) -> Float[Tensor, "r p"]:
        """The pooled vector, and no more, of rows of embedded texts and pictures."""
        x, packing = join((*text, None), (*visual, None))
        return self.pooler(self.encoder.first(x, packing.compact()), None)

    def blocks(self) -> Iterator[nn.Module]:
        yield from self.encoder.layers

    def depth_of(self, name: str) -> float:
        """0 in the embedders, (i+1)/(n+1) in layer i of n, 1 above."""
        part, _, rest = name.partition(".")
        if part != "encoder":
            return 1.0 if part == "pooler" else 0.0
        return (int(rest.split(".")[1]) + 1) / (len(self.encoder.layers) + 1)
