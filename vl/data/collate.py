"""From examples to a batch: pictures decoded one by one, texts tokenized together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vl.batch import Batch, Visual
from vl.data.regions_member import Regions, pad
from vl.data.sample import Sample
from vl.data.stages import BadMember, ImageStage
from vl.data.tokenizers import Tokenizer
from vl.data.views.base import Example, View
from vl.draw import Draw


class Collator:
    """Makes batches of examples.

    Args:
        tokenizer: Encodes the texts, padded to the longest of the batch; None where views read no text.
        image: Decodes the pictures; None where views read none.
        chance: Gives the tokenizer the texts' random numbers, as training does.
    """

    def __init__(self, tokenizer: Tokenizer | None, image: ImageStage | None, chance: bool = False) -> None:
        self.tokenizer, self.image, self.chance = tokenizer, image, chance

    def read(
        self,
        view: View,
        sample: Sample,
        inner: int,
        draw: Draw,
        numbers: Sequence[float] | None = None,
        change: Callable[[Example], Example] | None = None,
    ) -> Example:
        """An example of a sample with its pictures decoded.

        Args:
            view: Makes the example.
            sample: Of which it is made.
            inner: Which of the sample's examples.
            draw: The example's numbers, one row.
            numbers: Those of its first picture, if they were drawn already (which is cheaper for a whole batch).
            change: Happens to the example before its pictures are decoded.

        Raises:
            BadMember: the record is malformed, or a member is missing or cannot be read; carries the key.
            ValueError: the view reads pictures and there is no image stage.
        """
        try:
            example = view.example(sample, inner, draw)
            example = change(example) if change else example
            if self.image is not None and any(isinstance(image, bytes) for image in example.images):
                first = self.image.numbers(draw)[0] if numbers is None else numbers
                others = (self.image.numbers(draw.fold(slot))[0] for slot in range(1, len(example.images)))
                return self.decode(example, [first, *others])
        except ValueError as error:
            raise BadMember(str(error), sample.key) from error
        return self.decode(example)  # outside: no sample is bad because the image stage is missing

    def decode(self, example: Example, numbers: Sequence[Sequence[float]] = ()) -> Example:
        """The example with pixels for pictures; `numbers[i]` drives what is random about picture i.

        Raises:
            BadMember: a picture cannot be read.
            ValueError: there is no image stage.
        """
        if not any(isinstance(image, bytes) for image in example.images):
            return example
        if self.image is None:
            raise ValueError("the view reads pictures, but the data has no image stage; set data.image")
        numbers = numbers or [()] * len(example.images)
        pixels = (self.image.apply(data, row) for data, row in zip(example.images, numbers, strict=True))  # type: ignore[arg-type]
        return replace(example, images=tuple(pixels))

    def __call__(
        self, examples: Sequence[Example], draw: Draw | None = None, objectives: tuple[str, ...] = ()
    ) -> Batch:
        """A batch of examples whose pictures are pixels, still bytes, or regions.

        Where examples have several pictures or texts (all equally many), each text of an example meets each of its
        pictures in a row of `pairs`, text by text, and `group` is the example of a row.

        Raises:
            ValueError: there are texts and no tokenizer.
        """
        examples = [self.decode(example) for example in examples]
        own = [example.texts or ((example.text,) if example.text is not None else ()) for example in examples]
        texts = [text for several in own for text in several]
        images: list[Any] = [image for example in examples for image in example.images]
        per_text, per_image = len(texts) // len(examples), len(images) // len(examples)
        counts = zip(own, examples, strict=True)
        if any((len(text), len(example.images)) != (per_text, per_image) for text, example in counts):
            raise TypeError("the examples of a batch must all have equally many texts, and equally many pictures")
        if texts and self.tokenizer is None:
            raise ValueError("the view reads texts, but the data has no tokenizer; set data.tokenizer")
        languages = [one for example in examples for one in _each(example.language, per_text)]
        pairs, group = _rows(len(examples), per_text, per_image)
        numbers = _of_texts(draw, len(examples), per_text) if draw is not None and self.chance else None
        targets = {name: _stack([example.targets[name] for example in examples]) for name in examples[0].targets}
        return Batch(
            text=self.tokenizer.encode(texts, languages, numbers) if texts else None,
            visual=_visual(images) if images else None,
            pairs=pairs,
            group=group,
            matched=None
            if examples[0].matched is None
            else _stack([one for e in examples for one in _each(e.matched)]),
            codes=targets.pop("codes", None),
            targets=targets,
            objectives=objectives,
            keys=tuple(example.key for example in examples),
            draw=draw,
        )


def _of_texts(draw: Draw, examples: int, texts: int) -> Draw:
    """The numbers of each text of each example."""
    owners = torch.arange(examples).repeat_interleave(texts)
    return draw.fold("text").select(owners, torch.arange(texts).repeat(examples))


def _rows(examples: int, texts: int, images: int) -> tuple[Tensor | None, Tensor | None]:
    """Every text of an example with each of its pictures, and the example of each row; None where both are one."""
    if max(texts, images) <= 1:
        return None, None
    texts, images = max(texts, 1), max(images, 1)
    ranges = (torch.arange(number) for number in (examples, texts, images))
    example, text, image = (index.flatten() for index in torch.meshgrid(*ranges, indexing="ij"))
    return torch.stack([example * texts + text, example * images + image], dim=1), example


def _each(value: Any, number: int = 1) -> tuple[Any, ...]:
    """Those of each text, which may be one for all."""
    return value if isinstance(value, tuple) else (value,) * number


def _visual(images: list[Any]) -> Visual:
    """Pictures as pixels, or as regions."""
    return pad(images) if isinstance(images[0], Regions) else Visual(pixels=torch.stack(images))


def _stack(values: list[Any]) -> Any:
    """Numbers and tensors of one shape as a tensor, anything else as a tuple."""
    if all(isinstance(value, Tensor) and value.shape == values[0].shape for value in values):
        return torch.stack(values)
    if all(isinstance(value, bool | int | float) for value in values):
        return torch.tensor(values)
    return tuple(values)
