"""Two transformers, of words and of regions, that look at each other: ViLBERT, 12-in-1 and LXMERT."""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, nn

from vl.batch import Batch, Encoded, Text, Visual
from vl.models.base import VLModel
from vl.models.embed import TextEmbedder, VisualEmbedder
from vl.models.packing import Packing, join
from vl.models.poolers import Pooler
from vl.models.two_streams import TwoStreams
from vl.models.written import Written


class DualStream(VLModel):
    """Words and regions are embedded, run alone, and meet.

    Padding is never computed. A text or picture that stands in several rows (`Batch.pairs`) is embedded, and runs
    through the layers before the streams meet, once.

    Args:
        text: embeds words.
        visual: embeds regions, such as `VilbertRegions`, or pixels with `TimmGrid`.
        encoder: `CoAttention` or `CrossModality`.
        pooler: of the first word and the first region (the whole picture, where the embedder puts it in front); None
            for no `pooled`.

    Raises:
        ValueError: the widths of embedders and streams differ.
    """

    def __init__(
        self, text: TextEmbedder, visual: VisualEmbedder, encoder: TwoStreams, pooler: Pooler | None = None
    ) -> None:
        super().__init__()
        for name, embedder, stream in (("text", text, encoder.text), ("visual", visual, encoder.visual)):
            if embedder.width != stream.width:
                raise ValueError(f"{name} embeds to width {embedder.width}, but its stream has {stream.width}")
        self.text, self.visual, self.encoder, self.pooler = text, visual, encoder, pooler
        self.width, self.visual_width = text.width, visual.width
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
        """The map from region features."""
        return self.visual.projection

    def forward(self, batch: Batch) -> Encoded:
        """Words, regions and the pooled vector of every row, padded.

        Where `Batch.attention` is set, rows may be written word by word (`Written`).

        Raises:
            ValueError: a side is missing, or a causal pattern is asked for.
        """
        if batch.text is None or batch.visual is None:
            raise ValueError("DualStream reads texts and pictures together; the batch holds one side only")
        text_rows, visual_rows = (None, None) if batch.pairs is None else batch.pairs.unbind(1)
        if batch.attention is None:
            text, text_packing = join((*self.embed_text(batch.text), text_rows))
        else:
            words, packing = join((*self.text(batch.text), text_rows))
            text_packing = Written.of_words(packing, batch.attention)
            text = self.encoder.run_text(words, text_packing)
        visual, visual_packing = join((*self.embed_visual(batch.visual), visual_rows))
        text, visual = self.encoder(text, text_packing, visual, visual_packing)
        text, visual = text_packing.pad(text), visual_packing.pad(visual)
        pooled = None if self.pooler is None else self.pooler(text[:, 0], visual[:, 0])
        return Encoded(text=text, visual=visual[:, self.visual.num_extra :], pooled=pooled)

    def embed_text(self, text: Text) -> tuple[Float[Tensor, "n d"], Packing]:
        """Texts as far as they can be computed without a picture."""
        x, packing = self.text(text)
        return self.encoder.run_text(x, packing), packing

    def embed_visual(self, visual: Visual) -> tuple[Float[Tensor, "n dv"], Packing]:
        """Pictures as far as they can be computed without a text."""
        x, packing = self.visual(visual, self.text)
        return self.encoder.run_visual(x, packing), packing

    def pooled(
        self, text: tuple[Float[Tensor, "n d"], Packing], visual: tuple[Float[Tensor, "m dv"], Packing]
    ) -> Float[Tensor, "r p"]:
        """The pooled vector, and no more, of rows of embedded texts and pictures."""
        if not self.pooler.reads_visual:
            return self.pooler(self.encoder.first_word(*text, *visual), None)
        (_, text_packing), (_, visual_packing) = text, visual
        words, regions = self.encoder(*text, *visual)
        return self.pooler(text_packing.pad(words)[:, 0], visual_packing.pad(regions)[:, 0])

    def blocks(self) -> Iterator[nn.Module]:
        for step in self.encoder.steps():
            yield from step

    def depth_of(self, name: str) -> float:
        """0 in the embedders, (i+1)/(n+1) in step i of n, 1 above."""
        if not name.startswith("encoder."):
            return 1.0 if name.startswith("pooler.") else 0.0
        steps = list(self.encoder.steps())
        parameter = self.get_parameter(name)
        place = next(i for i, step in enumerate(steps) for block in step for p in block.parameters() if p is parameter)
        return (place + 1) / (len(steps) + 1)
