"""Words that captions must use, for constrained beam search: names of what a detector saw.

nocaps, arXiv:1812.08658: up to three objects of a picture, of which a caption names at least two.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from vl.batch import Batch
from vl.data.tokenizers import Tokenizer
from vl.tasks.constrained_beam_search import Constraint

#: Words or phrases of which any one will do.
Forms = list[str]


class CaptionConstraints:
    """For each picture the words its caption must use: at least `required` of them, or all if there are fewer."""

    required: int

    def words(self, batch: Batch) -> list[list[Forms]]:
        """The constraints of each picture."""
        raise NotImplementedError

    def __call__(self, batch: Batch, tokenizer: Tokenizer) -> list[list[Constraint]]:
        """The constraints of each picture in tokens; a form that the tokenizer cannot spell is left out.

        Tokens do not know where their word ends: a form is also met where a piece follows that makes a longer word.
        """
        words = self.words(batch)
        forms = list(dict.fromkeys(form for one in words for forms in one for form in forms))
        tokens: dict[str, list[int]] = {}
        if forms:
            text = tokenizer.encode(forms)
            assert text.words is not None
            tokens = {form: text.ids[i][text.words[i] >= 0].tolist() for i, form in enumerate(forms)}
        known = {form: ids for form, ids in tokens.items() if ids and tokenizer.unknown_id not in ids}
        return [[[known[form] for form in forms if form in known] for forms in one] for one in words]


class RegionConstraints(CaptionConstraints):
    """The classes of the regions a detector is surest of.

    Args:
        classes: a text file with a line a class, in the order of `class_probs` without the background. A line holds the
            words and phrases that name the class, with commas between (such as bottom-up attention's
            `objects_vocab.txt`); a class whose line is empty is never a constraint.
        most: constraints a picture; each adds beams to the search.
        required: how many of them a caption meets.
        min_prob: of a region's class.

    Raises:
        ValueError: there is no such file, or (when used) it has another number of classes than the regions.
    """

    def __init__(self, classes: str, most: int = 3, required: int = 2, min_prob: float = 0.5) -> None:
        if not Path(classes).is_file():
            raise ValueError(f"there is no list of classes {classes}; give a text file with a line a class")
        lines = Path(classes).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        self.forms = [[form.strip() for form in line.split(",") if form.strip()] for line in lines]
        self.file, self.most, self.required, self.min_prob = classes, most, required, min_prob

    def words(self, batch: Batch) -> list[list[Forms]]:
        probs, mask = batch.visual.class_probs, batch.visual.mask
        classes = 0 if probs is None else probs.shape[2] - 1
        if probs is None or mask is None or classes != len(self.forms):
            raise ValueError(f"{self.file} names {len(self.forms)} classes, but the regions have {classes}")
        surest, best = probs[..., 1:].masked_fill(~mask[..., None], -1.0).max(dim=2)
        chosen: list[list[Forms]] = []
        for row, prob in enumerate(surest):
            order = prob.argsort(descending=True, stable=True)
            numbers = dict.fromkeys(best[row, order[prob[order] >= self.min_prob]].tolist())
            chosen.append([self.forms[number] for number in numbers if self.forms[number]][: self.most])
        return chosen


class ListedConstraints(CaptionConstraints):
    """Those of a file, such as the detections of another model.

    Args:
        file: JSON, {key of a sample: [[a word, another form of it, ...], ...]}, the most important first. A picture
            that it lacks has no constraints.
        most: constraints a picture; each adds beams to the search.
        required: how many of them a caption meets.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """

    def __init__(self, file: str, most: int = 3, required: int = 2) -> None:
        if not Path(file).is_file():
            raise ValueError(f"there is no file of constraints {file}; give a JSON of lists of word forms by picture")
        try:
            self.listed = msgspec.json.decode(Path(file).read_bytes(), type=dict[str, list[list[str]]])
        except msgspec.MsgspecError as error:
            raise ValueError(f"{file} is not a JSON of lists of word forms by picture: {error}") from error
        self.most, self.required = most, required

    def words(self, batch: Batch) -> list[list[Forms]]:
        return [self.listed.get(name, [])[: self.most] for name in batch.targets["id"]]
