"""The scenes are read back as a user would read them: the English sentences are parsed, and evaluated on the record.

Parser, evaluator and program interpreter share no code with the generator.
"""

import re
import sys
import tarfile
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pytest
import simplejpeg

from vl.data.sample import read_record

ROOT = Path(__file__).parents[2] / "datasets" / "scenes"
sys.path.insert(0, str(ROOT))  # the recipe's modules lie beside its command, which is run by path

from build import Job, build  # noqa: E402
from grammar import plural  # noqa: E402
from sprites import COLOURS, names  # noqa: E402
from world import JUDGE, PRESETS, SPLITS, World, held_out  # noqa: E402

SCENES, OTHERS, SETS = 240, 40, 30
NUMBERS = {"one": 1, "two": 2, "three": 3}
PLACES = {"on the left": "left", "on the right": "right", "at the top": "top", "at the bottom": "bottom",
          "in the middle": "middle"}  # fmt: skip
RELATIONS = {"to the left of": "left", "to the right of": "right", "above": "above", "below": "below",
             "bigger than": "bigger", "smaller than": "smaller", "in front of": "front",
             "partly behind": "behind"}  # fmt: skip
INVERSE = {"left": "right", "above": "below", "bigger": "smaller", "front": "behind"}


# ---- reading English

NOUNS = {name: name for name in names("en").values()} | {plural(name): name for name in names("en").values()}
NOUNS |= {"thing": None}
NOUN = (
    rf"(?:an? |the |two |three )?(?:(small|large) )?(?:({'|'.join(COLOURS)}) )?"
    rf"({'|'.join(sorted(NOUNS, key=len, reverse=True))})(?: ({'|'.join(PLACES)}))?"
)


def noun(text):
    """A function of an object: whether the noun phrase describes it."""
    found = re.fullmatch(NOUN, text)
    assert found, text
    size, colour, name, place = found.groups()
    return lambda thing: (
        (NOUNS[name] is None or thing["name"] == NOUNS[name])
        and {size, colour} - {None} <= set(thing["attributes"])
        and (place is None or PLACES[place] in thing["places"])
    )


def related(graph, a, relation, b):
    listed = {tuple(triple) for triple in graph["relations"]}
    return (a, relation, b) in listed or (b, {v: k for k, v in INVERSE.items()}.get(relation), a) in listed


def find(graph, text):
    return [i for i, thing in enumerate(graph["objects"]) if noun(text)(thing)]


def true(text, *graphs):
    """Whether English sentences hold of a picture, or of a left and a right one."""
    if ". " in text:
        return all(true(sentence, *graphs) for sentence in text.split(". "))
    text = text[0].lower() + text[1:].rstrip(".")
    left, right = graphs[0], graphs[-1]
    if m := re.fullmatch(r"the left picture shows (.*) and the right one (.*)", text):
        return bool(find(left, m[1]) and find(right, m[2]))
    if m := re.fullmatch(r"the (left|right) picture shows (.*)|there is (.*) in the (left|right) picture", text):
        return bool(find(left if "left" in (m[1], m[4]) else right, m[2] or m[3]))
    if m := re.fullmatch(r"both pictures show (.*)|there is (.*) in each picture", text):
        return bool(find(left, m[1] or m[2]) and find(right, m[1] or m[2]))
    if m := re.fullmatch(r"exactly one of the pictures shows (.*)", text):
        return bool(find(left, m[1])) != bool(find(right, m[1]))
    if m := re.fullmatch(r"there are exactly ((\w+) .*) in the two pictures together", text):
        return len(find(left, m[1])) + len(find(right, m[1])) == NUMBERS[m[2]]
    if m := re.fullmatch(r"there are more (.*) in the (left|right) picture than in the (?:left|right) one", text):
        counts = len(find(left, m[1])), len(find(right, m[1]))
        return counts[0] > counts[1] if m[2] == "left" else counts[1] > counts[0]
    if m := re.fullmatch(r"(?:there are|the picture shows) exactly ((\w+) .*)", text):
        return len(find(left, m[1])) == NUMBERS[m[2]]
    if m := re.fullmatch(rf"(.*) is ({'|'.join(RELATIONS)}) (.*)", text):
        pairs = [(a, b) for a in find(left, m[1]) for b in find(left, m[3]) if a != b]
        return any(related(left, a, RELATIONS[m[2]], b) for a, b in pairs)
    m = re.fullmatch(r"(?:there is|the picture shows|one can see) (.*)", text)
    assert m, text
    return all(find(left, part) for part in re.split(r", | and ", m[1]))


def meant(text, graph):
    """The objects that a referring expression may mean."""
    if m := re.fullmatch(r"the (leftmost|rightmost|topmost|lowest) (.*)", text):
        centre = {i: np.mean(np.reshape(graph["objects"][i]["box"], (2, 2)), 0) for i in find(graph, m[2])}
        axis, best = {"leftmost": (0, min), "rightmost": (0, max), "topmost": (1, min), "lowest": (1, max)}[m[1]]
        return [best(centre, key=lambda i: centre[i][axis])]
    if m := re.fullmatch(rf"(.*?) (?:that is )?({'|'.join(RELATIONS)}) (.*)", text):
        (landmark,) = find(graph, m[3])
        return [i for i in find(graph, m[1]) if related(graph, i, RELATIONS[m[2]], landmark)]
    return find(graph, text)


def execute(program, graph):
    """The answer of a program on the scene graph."""
    things, results = graph["objects"], []
    for step in program:
        operation, argument, inputs = step["operation"], step["argument"], [results[i] for i in step["dependencies"]]
        match operation.split():
            case ["select"]:
                result = [i for i, thing in enumerate(things) if argument in ("thing", thing["name"])]
            case ["filter", "name"]:
                result = [i for i in inputs[0] if things[i]["name"] == argument]
            case ["filter", "place"]:
                result = [i for i in inputs[0] if argument in things[i]["places"]]
            case ["filter", _]:
                result = [i for i in inputs[0] if argument in things[i]["attributes"]]
            case ["relate"]:
                result = [i for i in range(len(things)) if any(related(graph, i, argument, j) for j in inputs[0])]
            case ["query"]:
                (one,) = inputs[0]
                result = things[one]["name"] if argument == "name" else things[one]["attributes"][0]
            case ["exist"]:
                result = bool(inputs[0])
            case ["count"]:
                result = len(inputs[0])
            case ["not"]:
                result = not inputs[0]
            case ["and"]:
                result = all(inputs)
            case ["or"]:
                result = any(inputs)
            case ["more"]:
                result = inputs[0] > inputs[1]
            case ["fewer"]:
                result = inputs[0] < inputs[1]
            case ["same"]:
                result = inputs[0] == inputs[1]
            case _:
                raise AssertionError(step)
        results.append(result)
    return {True: "yes", False: "no"}.get(result, str(result)) if isinstance(result, bool) else str(result)


# ---- data


def read(path):
    samples = defaultdict(dict)
    with tarfile.open(path) as tar:
        for member in tar:
            key, name = member.name.split(".", 1)
            samples[key][name] = tar.extractfile(member).read()
    return samples


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """{(split, pairs): {key: (members, json)}} of a small data set of every split."""
    folder, found = tmp_path_factory.mktemp("scenes"), {}
    for split in SPLITS:
        for pairs, count in ((False, SCENES if split == "train" else OTHERS), (True, SETS if split == "train" else 5)):
            shard = build(Job(str(folder), split, "full", 0, 0, count, pairs))
            samples = read(folder / shard.file)
            found[split, pairs] = {key: (m, msgspec.json.decode(m["json"])) for key, m in samples.items()}
    return found


@pytest.fixture(scope="module")
def records(shards):
    """The scenes of all splits: (split, json)."""
    return [(split, json) for (split, pairs), samples in shards.items() if not pairs for _, json in samples.values()]


def english(items):
    return [item for item in items if item["language"] == "en"]


# ---- what is said


def test_captions_are_true_and_their_opposites_are_not(records):
    kinds, several = Counter(), 0.0
    for _, record in records:
        captions = record["captions"]
        assert Counter(caption["language"] for caption in captions) == {"en": 5, "zh": 5}
        assert all(true(caption["text"], record) for caption in english(captions))
        around = defaultdict(set)
        for false in record["opposites"]:
            where, index = false["of"].split("/")
            if where == "captions":
                around[int(index)].add(false["kind"])
                assert captions[int(index)]["language"] == false["language"]
                if false["language"] == "en":
                    kinds[false["kind"]] += 1
                    assert not true(false["text"], record), false
        assert all(around[i] for i in range(10))
        several += sum(len(kinds_) >= 2 for kinds_ in around.values()) / 10 / len(records)
    assert several > 0.95
    assert set(kinds) == {"object", "attribute", "count", "relation", "exchange"}


def test_chinese_says_what_english_says(records):
    """Same things, colours and sizes, in whatever order."""
    colours = dict(zip(COLOURS, "红橙黄绿蓝紫黑白", strict=True))
    translation = {names("en")[thing]: names("zh")[thing] for thing in names("en")}
    for _, record in records[::3]:
        for en, zh in zip(record["captions"][::2], record["captions"][1::2], strict=True):
            assert not re.search("[a-zA-Z]", zh["text"].replace("T恤", "")), zh
            for word, character in colours.items():
                assert len(re.findall(rf"\b{word}\b", en["text"])) == zh["text"].count(character + "色")
            for _, _, name, _ in re.findall(NOUN, en["text"]):
                assert translation[NOUNS[name]] in zh["text"]


def test_programs_find_the_answer_of_the_majority(records):
    types = Counter()
    for _, record in records:
        for question in english(record["qa"]):
            (answer, votes), *_ = Counter(question["answers"]).most_common()
            assert votes >= 7
            assert len(question["answers"]) == 10
            assert execute(question["program"], record) == answer, question
            types[question["type"]] += 1
        for false in record["opposites"]:
            if false["of"].startswith("qa/"):
                answers = record["qa"][int(false["of"].split("/")[1])]["answers"]
                assert false["text"] != Counter(answers).most_common(1)[0][0]
    assert set(types) == {"existence", "count", "attribute", "object", "relation", "comparison", "logic"}
    assert max(types.values()) <= 0.25 * types.total()


def test_expressions_mean_one_thing(records):
    types, repeated, total = Counter(), 0, 0
    for split, record in records:
        objects = record["objects"]
        for expression in english(record["expressions"]):
            found = meant(expression["text"], record)
            assert len(found) == 1, (expression["text"], objects)
            index = found[0]
            assert objects[index]["box"] == expression["box"]
            repeated += sum(thing["name"] == objects[index]["name"] for thing in objects) > 1
            total += 1
            types[expression["type"]] += split == "train"
    assert repeated >= 0.5 * total
    assert len(types) >= 6
    assert max(types.values()) <= 0.28 * types.total()


def test_entailment_follows_from_what_the_cards_may_hide(records):
    """Entailed: true; contradicted: false whatever the card is; neutral: it depends on the card."""
    found = Counter()
    for _, record in records:
        for hypothesis in english(record["entailment"]):
            mentioned = {NOUNS[name] for _, _, name, _ in re.findall(NOUN, hypothesis["hypothesis"])}
            truths = {true(hypothesis["hypothesis"], reveal(record, name)) for name in (*mentioned, "something else")}
            expected = {frozenset({True}): "entailment", frozenset({False}): "contradiction"}
            assert hypothesis["label"] == expected.get(frozenset(truths), "neutral")
            found[hypothesis["label"]] += 1
    assert min(found.values()) > 50


def reveal(record, name):
    objects = [thing | {"name": name} if thing["name"] == "card" else thing for thing in record["objects"]]
    return record | {"objects": objects}


def test_choices_have_one_right_answer_and_one_true_rationale(records):
    count = 0
    for _, record in records:
        for chosen in english(record["choices"]):
            relation, asked = re.fullmatch(r"What is (.*?) (the .*)\?", chosen["question"]).groups()
            right = [true(f"{choice} is {relation} {asked}", record) for choice in chosen["choices"]]
            assert np.flatnonzero(right).tolist() == [chosen["label"]]
            reasons = [true(rationale, record) for rationale in chosen["rationales"]]
            assert np.flatnonzero(reasons).tolist() == [chosen["rationale_label"]]
            words = Counter(word for choice in chosen["choices"] for word in set(choice.split()[1:]))
            assert set(words.values()) <= {2, 4}, "no word may single out a choice"
            count += 1
    assert count > 100


def test_statements_about_pairs(shards):
    for (_, pairs), samples in shards.items():
        for key, (members, record) in samples.items() if pairs else ():
            assert {"left.jpg", "right.jpg", "json"} == set(members)
            graphs = record["left"], record["right"]
            assert all(true(one["text"], *graphs) == one["label"] for one in english(record["statements"]))
            for false in english(record["opposites"]):
                assert not true(false["text"], *graphs), (key, false)
                assert record["statements"][int(false["of"].split("/")[1])]["label"]


# ---- what is shown


def test_pictures_and_boxes(shards):
    """Boxes lie inside, and hold the colour they promise."""
    for members, record in list(shards["train", False].values())[:60]:
        picture = simplejpeg.decode_jpeg(members["jpg"])
        assert picture.shape == (224, 224, 3)
        assert read_record(members, "x").width == 224
        for thing in record["objects"]:
            left, top, right, bottom = (round(edge * 224) for edge in thing["box"])
            assert 0 <= left < right <= 224
            assert 0 <= top < bottom <= 224
            assert thing["visible"] >= 0.7
            inside = picture[top:bottom, left:right].reshape(-1, 3).astype(int)
            near = np.abs(inside - COLOURS[thing["attributes"][0]][1]).max(-1) < 70
            assert near.mean() > 0.02, thing


def test_sizes_and_repeats(records):
    scenes = [record["objects"] for split, record in records if split == "train"]
    assert {len(scene) for scene in scenes} == set(range(2, 9))
    repeats = [
        len({thing["name"] for thing in scene} - {"card"}) < sum(t["name"] != "card" for t in scene) for scene in scenes
    ]
    assert 0.2 < np.mean(repeats) < 0.45
    for scene in scenes:
        things = [(thing["name"], *thing["attributes"]) for thing in scene]
        assert len(set(things)) == len(things)


# ---- held-out splits


def told(record):
    """(concept, colour) pairs, and concepts together, that a record shows or mentions in English."""
    texts = [one["text"] for field in ("captions", "opposites", "expressions") for one in english(record[field])]
    texts += [one["hypothesis"] for one in english(record["entailment"])]
    texts += [one["question"] for one in english(record["qa"])]
    for one in english(record["choices"]):
        texts += [one["question"], *one["choices"], *one["rationales"]]
    phrases = [[(NOUNS[name], colour) for _, colour, name, _ in re.findall(NOUN, text)] for text in texts]
    return [*phrases, [(thing["name"], thing["attributes"][0]) for thing in record["objects"]]]


def test_training_never_shows_or_mentions_what_is_held_out(records):
    emoji = {name: thing for thing, name in names("en").items()}
    unknown = {names("en")[thing] for thing in World("test_concepts", PRESETS["full"]).concepts}
    for split, record in records:
        strange = 0
        for phrases in told(record):
            known = [(emoji[name], colour) for name, colour in phrases if name in emoji]
            if split == "test_concepts":
                assert {name for name, _ in phrases} - {None, "card"} <= unknown
                continue
            assert not {name for name, _ in phrases} & unknown
            strange += any(held_out("concept-colour", thing, colour) for thing, colour in known if colour)
            pairs = combinations({thing for thing, _ in known}, 2)
            strange += any(held_out("concept-concept", a, b) for a, b in pairs)
        assert bool(strange) == (split == "test_compositions") or split == "test_concepts"


def test_compositions_are_all_new(records):
    emoji = {name: thing for thing, name in names("en").items()}
    for split, record in records:
        if split == "test_compositions":
            things = [thing for thing in record["objects"] if thing["name"] != "card"]
            assert all(held_out("concept-colour", emoji[thing["name"]], thing["attributes"][0]) for thing in things)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_world_can_be_drawn(preset, split):
    """Also one of ten concepts, where three of a class in new colours may not exist."""
    world, rng = World(split, PRESETS[preset]), Random(0)
    fewest, most = world.preset.objects
    for _ in range(40):
        pool = world.draw_pool(rng) if preset == "full" else world
        things = pool.draw_things(rng)
        assert fewest <= len(things) <= most
        assert len(set(things)) == len(things)


def test_simple_scenes(tmp_path):
    """One to three things at five places, and a first caption that names all of each."""
    shard = build(Job(str(tmp_path), "test_compositions", "simple", 0, 0, 40))
    for members in read(tmp_path / shard.file).values():
        record = msgspec.json.decode(members["json"])
        assert 1 <= len(record["objects"]) <= 3
        prompt = record["captions"][0]["text"]
        assert true(prompt, record)
        for thing in record["objects"]:
            assert f"{thing['attributes'][0]} {thing['name']}" in prompt


def test_the_scenes_of_a_judge_show_every_pair():
    """Those that training shows, and those that it never does."""
    world, rng = World(JUDGE, PRESETS["generate"]), Random(0)
    things = [thing for _ in range(200) for thing in world.draw_things(rng)]
    strange = sum(held_out("concept-colour", thing.concept, thing.colour) for thing in things)
    assert 0.08 < strange / len(things) < 0.18
    assert world.sayable(tuple(things[:3]))


# ---- balance


def test_answers_are_balanced(shards):
    labels = defaultdict(Counter)
    for split, pairs in (("train", False), ("train", True)):
        for _, record in shards[split, pairs].values():
            for question in english(record.get("qa", [])):
                labels[question["type"]][Counter(question["answers"]).most_common(1)[0][0]] += 1
            for hypothesis in english(record.get("entailment", [])):
                labels["entailment " + hypothesis["type"]][hypothesis["label"]] += 1
            for statement in english(record.get("statements", [])):
                labels["statements " + statement["type"]][statement["label"]] += 1
    share = {kind: max(counts.values()) / counts.total() for kind, counts in labels.items()}
    assert share.pop("count") == 0.25
    assert share.pop("attribute") < 0.2
    assert share.pop("object") < 0.06
    for kind, largest in share.items():
        assert largest == (1 / 3 if kind.startswith("entailment") else 0.5), kind


def test_a_blind_model_learns_nothing(shards):
    """Bags of words and word pairs, logistic regression, held-out half of the scenes: at most chance and its error."""
    for kind, examples in blind_examples(shards["train", False], shards["train", True]).items():
        accuracy, chance, error = blind_accuracy(examples)
        assert accuracy < chance + 0.02 + 3 * error, kind


def blind_examples(scenes, pairs):
    """{kind: [(scene, text, label)]} of what can be told right or wrong by its words."""
    examples = defaultdict(list)
    for number, (_, record) in enumerate([*scenes.values(), *pairs.values()]):
        number = number if "captions" in record else number // 2
        for question in english(record.get("qa", [])):
            label = Counter(question["answers"]).most_common(1)[0][0]
            if label in ("yes", "no", "0", "1", "2", "3"):
                examples["count" if label.isdigit() else "polar"].append((number, question["question"], label))
        for one in english(record.get("entailment", [])):
            examples["entailment"].append((number, one["hypothesis"], one["label"]))
        for one in english(record.get("statements", [])):
            examples["statements"].append((number, one["text"], str(one["label"])))
        for false in english(record["opposites"]):
            field, index = false["of"].split("/")
            if field == "captions":
                examples["captions, " + false["kind"]] += [
                    (number, record["captions"][int(index)]["text"], "true"),
                    (number, false["text"], "false"),
                ]
    return examples


def blind_accuracy(examples):
    """Accuracy on the scenes of odd number after training on those of even number, chance, and its error."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, test = ([(t, y) for scene, t, y in examples if scene % 2 == half] for half in (0, 1))
    words = CountVectorizer(ngram_range=(1, 2), min_df=2, binary=True)
    model = LogisticRegression(C=0.1, max_iter=300).fit(
        words.fit_transform([t for t, _ in train]), [y for _, y in train]
    )
    labels = [y for _, y in test]
    chance = max(Counter(labels).values()) / len(labels)
    accuracy = model.score(words.transform([t for t, _ in test]), labels)
    return accuracy, chance, np.sqrt(chance * (1 - chance) / len(labels))


@pytest.mark.slow
def test_a_blind_model_learns_nothing_from_thousands_of_scenes(tmp_path):
    """As above, on 4,000 scenes: every kind of question, hypothesis and opposite within 5 points of the majority."""
    scenes, pairs = {}, {}
    for start in range(0, 4000, 400):
        scenes |= read(tmp_path / build(Job(str(tmp_path), "train", "full", 1, start, start + 400)).file)
    pairs |= read(tmp_path / build(Job(str(tmp_path), "train", "full", 1, 0, 400, True)).file)
    decoded = [{k: (m, msgspec.json.decode(m["json"])) for k, m in part.items()} for part in (scenes, pairs)]
    for kind, examples in blind_examples(*decoded).items():
        accuracy, chance, _ = blind_accuracy(examples)
        print(f"{kind}: blind {accuracy:.3f}, majority {chance:.3f}, {len(examples)} examples")
        assert accuracy < chance + 0.05, kind
