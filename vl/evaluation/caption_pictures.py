"""Captions of pictures, by a model of the reversed sequence: the picture first, then the text."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from vl.batch import Batch, Text
from vl.data.tokenizers import Tokenizer
from vl.models.autoregressive import Autoregressive


@torch.inference_mode()
def caption_pictures(captioner: Autoregressive, tokenizer: Tokenizer, codes: Int[Tensor, "b n"]) -> list[str]:
    """The likeliest token each time, up to the tokenizer's `context_length`."""
    captioner.eval()
    sequence, rows = captioner.sequence, len(codes)
    ids = torch.full((rows, 1), tokenizer.start_id, device=codes.device)
    done = torch.zeros(rows, dtype=torch.bool, device=codes.device)
    for _ in range(sequence.text_length - 1):
        # A place to predict: the state before it says what stands there.
        padded = torch.cat([ids, torch.full_like(ids[:, :1], tokenizer.pad_id)], 1)
        mask = torch.ones_like(padded, dtype=torch.bool)
        logits = sequence.text_logits(captioner(Batch(text=Text(padded, mask), codes=codes)).text[:, -1])
        found = logits[:, sequence.num_codes :].argmax(1)
        done |= (found >= sequence.text_vocab) | (found == tokenizer.end_id)
        if bool(done.all()):
            break
        ids = torch.cat([ids, found.masked_fill(done, tokenizer.pad_id)[:, None]], 1)
    return [tokenizer.decode([token for token in row if token != tokenizer.pad_id]) for row in ids[:, 1:].tolist()]
