"""Which words a caption must use, and captions that use them."""

import json

import pytest
import torch
from streams import build

from vl.batch import Batch, Visual
from vl.data.tokenizers import CorpusTokenizer
from vl.data.vocabulary import train_tokenizer
from vl.tasks.caption_constraints import ListedConstraints, RegionConstraints
from vl.tasks.captioning import Captioning

WORDS = "a red cat sits two dogs run here hot dog"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    file = tmp_path_factory.mktemp("tokenizer") / "corpus.json"
    file.write_text(train_tokenizer([WORDS] * 3, 60).to_str())
    return CorpusTokenizer(str(file), 16)


def regions(*pictures):
    """Pictures of three regions at most: each a class (1 to 4, 0 is the background) and its probability."""
    probs = torch.full((len(pictures), 3, 5), 0.01)
    mask = torch.zeros(len(pictures), 3, dtype=torch.bool)
    for row, found in enumerate(pictures):
        for place, (number, prob) in enumerate(found):
            probs[row, place, number], mask[row, place] = prob, True
    probs[~mask] = 0.9
    whole = torch.tensor([0.0, 0, 1, 1]).expand(len(pictures), 3, 4)
    visual = Visual(features=torch.arange(10.0).expand(*mask.shape, 10), boxes=whole, mask=mask, class_probs=probs)
    keys = tuple(f"p{i}" for i in range(len(pictures)))
    return Batch(visual=visual, keys=keys, targets={"id": keys})


def test_the_surest_classes_of_a_picture_with_their_forms(tmp_path, tokenizer):
    file = tmp_path / "classes.txt"
    file.write_text("cat, red cat\n\ndog,dogs,猫\nhere\n")
    batch = regions([(3, 0.6), (1, 0.9), (4, 0.3)], [(2, 0.9), (3, 0.7), (3, 0.8)], [(0, 0.9)])
    constraints = RegionConstraints(str(file))
    assert constraints.words(batch) == [[["cat", "red cat"], ["dog", "dogs", "猫"]], [["dog", "dogs", "猫"]], []]
    assert RegionConstraints(str(file), most=1).words(batch)[0] == [["cat", "red cat"]]
    assert len(RegionConstraints(str(file), min_prob=0.2).words(batch)[0]) == 3
    cat, red, dog, dogs = (tokenizer.encode([word]).ids[0, 1:-1].tolist() for word in ("cat", "red", "dog", "dogs"))
    assert constraints(batch, tokenizer) == [[[cat, red + cat], [dog, dogs]], [[dog, dogs]], []]


def test_another_number_of_classes_is_an_error(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("cat\ndog\n")
    with pytest.raises(ValueError, match=r"classes\.txt names 2 classes, but the regions have 4"):
        RegionConstraints(str(file)).words(regions([(1, 0.9)]))
    with pytest.raises(ValueError, match="there is no list of classes nowhere"):
        RegionConstraints("nowhere")


def test_constraints_of_a_file(tmp_path):
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"p1": [["cat"], ["dog", "dogs"], ["here"]]}))
    assert ListedConstraints(str(file), most=2).words(regions([], [])) == [[], [["cat"], ["dog", "dogs"]]]
    file.write_text(json.dumps({"p1": ["cat"]}))
    with pytest.raises(ValueError, match=r"words\.json is not a JSON of lists of word forms"):
        ListedConstraints(str(file))


def test_captions_use_the_words(tmp_path, tokenizer):
    file = tmp_path / "words.json"
    listed = {"p0": [["cat"], ["hot dog", "dogs"], ["sits"]], "p1": [["here"]]}
    file.write_text(json.dumps(listed))
    batch = regions([(1, 0.9)], [(2, 0.9), (1, 0.8)], [(1, 0.8)])
    torch.manual_seed(0)
    model = build("uniter")
    free = Captioning(tokenizer, beams=2, max_length=8)
    bound = Captioning(tokenizer, beams=2, max_length=8, constraints=ListedConstraints(str(file)))
    for task in (free, bound):
        task.setup(model)
    bound.load_state_dict(free.state_dict())
    with torch.no_grad():
        before, after = ([one["caption"] for one in task.predict(model, batch)] for task in (free, bound))
    assert sum(any(form in after[0] for form in forms) for forms in listed["p0"]) >= 2
    assert "here" in after[1].split()
    assert "here" not in before[1].split()
    assert after[2] == before[2]
