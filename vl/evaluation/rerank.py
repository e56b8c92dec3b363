"""Reranking: which of a prompt's candidates fits it best, by CLIP or by a captioner.

"Zero-Shot Text-to-Image Generation", arXiv:2102.12092, section 2.6; "CogView", arXiv:2105.13290, section 3.2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vl.batch import Batch, Text, Visual
from vl.checkpoints.bundle import Bundle
from vl.models.autoregressive import Autoregressive


@torch.inference_mode()
def clip_scores(
    clip: Bundle, prompts: list[str], language: list[int], pixels: Float[Tensor, "p c 3 h w"]
) -> Float[Tensor, "p c"]:
    """The cosine of each candidate with its prompt."""
    size = clip.image.size
    flat = F.interpolate(pixels.flatten(0, 1), (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    images = clip.model(Batch(visual=Visual(pixels=flat))).image_emb.unflatten(0, pixels.shape[:2])
    texts = clip.model(Batch(text=clip.tokenizer.encode(prompts, language))).text_emb
    return (images * texts[:, None]).sum(2)


@torch.inference_mode()
def caption_scores(captioner: Autoregressive, text: Text, codes: Int[Tensor, "p c n"]) -> Float[Tensor, "p c"]:
    """log p(prompt | candidate) by a model of the reversed sequence (`CogViewCaption`, `DalleCaption`).

    Only text tokens compete: the logits of codes are left out.
    """
    candidates = codes.shape[1]
    rows = Text(text.ids.repeat_interleave(candidates, 0), text.mask.repeat_interleave(candidates, 0))
    batch = Batch(text=rows, codes=codes.flatten(0, 1))
    return text_logps(captioner, batch).sum(1).unflatten(0, codes.shape[:2])


def text_logps(captioner: Autoregressive, batch: Batch) -> Float[Tensor, "b l"]:
    """The log-probability of every text token after the first, given the picture; 0 for padding."""
    tokens = captioner.sequence.whole(batch)
    ids, real = (captioner.sequence.parts(x[:, 1:], tokens)[0] for x in (tokens.ids, tokens.real))
    logits = captioner.sequence.text_logits(captioner(batch).text).float()
    codes = torch.arange(captioner.sequence.num_codes, device=logits.device)
    logp = logits.index_fill(2, codes, float("-inf")).log_softmax(2)
    return logp.gather(2, ids[..., None]).squeeze(2) * real


def caption_loss(captioner: Autoregressive, text: Text, codes: Int[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """CapLoss: the mean negative log-probability of a caption's tokens, given the picture."""
    with torch.inference_mode():
        logps = text_logps(captioner, Batch(text=text, codes=codes))
    return -logps.sum(1) / text.mask[:, 1:].sum(1).clamp(min=1)
