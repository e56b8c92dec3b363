"""The command that scores predictions, on files in the benchmarks' own layouts."""

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "score.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("score", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def score(tool, tmp_path):
    """Score content that is written to files first; strings are written as they are."""

    def write(name, content):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def run(task, predictions, annotations, *options):
        files = [write(*one) if isinstance(one, tuple) else one for one in (predictions, annotations)]
        words = [task, "--predictions", files[0], "--annotations", files[1], "--json", tmp_path / "out.json", *options]
        tool.main([str(word) for word in words])
        report = json.loads((tmp_path / "out.json").read_text())
        assert set(report) == {"schema", "quick", "results", "seconds", "settings"}
        (result,) = report["results"]
        assert (result["model"], result["task"]) == ("predictions", task)
        return result

    return run


def people(answers):
    return [{"answer": answer, "answer_id": number} for number, answer in enumerate(answers, start=1)]


VQA = {
    "annotations": [
        {"question_id": 1, "image_id": 7, "question_type": "is", "answer_type": "yes/no",
         "answers": people(["yes"] * 10)},
        {"question_id": 2, "image_id": 7, "question_type": "what", "answer_type": "other",
         "answers": people(["red"] * 3 + ["dark red"] * 7)},
        {"question_id": 3, "image_id": 8, "question_type": "what", "answer_type": "other",
         "answers": people(["2"] * 10)},
    ]
}  # fmt: skip
SAID = [
    {"question_id": 1, "answer": "Yes."},
    {"question_id": 2, "answer": "red"},
    {"question_id": 3, "answer": "three"},
]


def test_vqa(score, capsys):
    result = score("vqa", ("p.json", SAID), ("a.json", VQA), "--bootstrap", "200")
    assert result["n"] == 3
    assert result["metrics"]["accuracy"] == pytest.approx(100 * (1 + 0.9 + 0) / 3)
    assert result["metrics"]["answer_type/other"] == pytest.approx(45)
    assert result["metrics"]["accuracy/low"] == 0  # resamples of two pictures: the second alone has no right answer
    assert result["metrics"]["accuracy/high"] == pytest.approx(95)
    assert "leaving out each person" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (SAID[:1], "has no prediction for 2, 3"),
        ([*SAID, {"question_id": 9, "answer": "x"}], "ids the annotations do not have: 9"),
        ([*SAID, SAID[0]], "has question_id 1 twice"),
        ([{"question_id": 1}], "row 1 has no field 'answer'"),
        ({"1": "yes"}, "is not a JSON list of objects"),
        ("[{", "is no JSON"),
    ],
)
def test_what_does_not_fit_is_named(score, said, message):
    with pytest.raises(SystemExit, match=message):
        score("vqa", ("p.json", said), ("a.json", VQA))


@pytest.mark.parametrize(
    ("task", "annotations", "message"),
    [
        ("gqa", [], "no file of GQA's questions"),
        ("gqa", {}, "the annotations hold nothing to predict"),
        ("nocaps", [], "a list `annotations` with"),
        ("nocaps", {"annotations": [{"id": 1}]}, "a list `annotations` with"),
        ("retrieval", [], "a list `images` with imgid, sentids, split"),
        ("retrieval", {"images": [{"split": "test"}]}, "a list `images` with imgid, sentids, split"),
    ],
)
def test_annotations_of_another_task_are_named(score, task, annotations, message):
    with pytest.raises(SystemExit, match=message):
        score(task, ("p.json", []), ("a.json", annotations))


def test_options_of_another_task_are_refused(score):
    with pytest.raises(SystemExit, match="vqa takes no --split"):
        score("vqa", ("p.json", SAID), ("a.json", VQA), "--split", "val")


def test_gqa(score, tmp_path):
    one = {"isBalanced": True, "types": {"structural": "query", "semantic": "attr", "detailed": "x"},
           "groups": {"global": None}, "entailed": [], "imageId": "5"}  # fmt: skip
    questions = {
        "1": one | {"answer": "red"},
        "2": one | {"answer": "no"},
        "3": one | {"answer": "x", "isBalanced": False},
    }
    choices = tmp_path / "choices.json"
    choices.write_text(json.dumps({name: {"valid": ["red", "no"], "plausible": []} for name in "123"}))
    said = [{"questionId": "1", "prediction": "red"}, {"questionId": "2", "prediction": "red"}]
    result = score("gqa", ("p.json", said), ("q.json", questions), "--choices", choices)
    assert (
        result["metrics"] | {"accuracy": 50, "validity": 100, "plausibility": 0, "semantic/attr": 50}
        == result["metrics"]
    )
    assert "no consistency" in result["protocol"]


def test_nlvr2(score):
    rows = [{"identifier": f"dev-1-{pair}-0", "sentence": "s", "label": "True"} for pair in (0, 1)]
    lines = "\n".join(map(json.dumps, rows))
    result = score("nlvr2", ("p.csv", "dev-1-0-0,true\ndev-1-1-0.png,FALSE\n"), ("dev.json", lines))
    assert result["metrics"] == {"accuracy": 50, "consistency": 0}
    with pytest.raises(SystemExit, match=r"p\.csv, line 2: 'dev-1-1-0,maybe' is not"):
        score("nlvr2", ("p.csv", "dev-1-0-0,true\ndev-1-1-0,maybe"), ("dev.json", lines))
    with pytest.raises(SystemExit, match=r"dev\.json, line 2 is no JSON"):
        score("nlvr2", ("p.csv", "dev-1-0-0,true"), ("dev.json", json.dumps(rows[0]) + "\n{oops"))


def test_snli_ve(score):
    rows = [
        {"pairID": f"1.jpg#{n}", "Flickr30K_ID": "1", "gold_label": label}
        for n, label in enumerate(["neutral", "entailment"])
    ]
    said = [{"pairID": row["pairID"], "label": "neutral"} for row in rows]
    result = score("snli_ve", ("p.json", said), ("dev.jsonl", "\n".join(map(json.dumps, rows))))
    assert result["metrics"] == {"accuracy": 50, "label/entailment": 0, "label/neutral": 100}


def test_vcr(score):
    rows = [{"annot_id": f"val-{n}", "img_fn": "a.jpg", "answer_label": 1, "rationale_label": 2} for n in range(2)]
    names = [f"answer_{i}" for i in range(4)] + [
        f"rationale_conditioned_on_a{a}_{i}" for a in range(4) for i in range(4)
    ]
    first = {"answer_1": 0.9, "rationale_conditioned_on_a1_2": 0.9}
    second = {"answer_1": 0.9, "rationale_conditioned_on_a0_2": 0.9}  # right, had another answer been right
    lines = [",".join(["annot_id", *names])]
    lines += [
        ",".join([f"val-{n}", *(str(best.get(name, 0.1)) for name in names)]) for n, best in enumerate((first, second))
    ]
    annotations = ("val.jsonl", "\n".join(map(json.dumps, rows)))
    result = score("vcr", ("p.csv", "\n".join(lines)), annotations)
    assert result["metrics"] == {"Q->A": 100, "QA->R": 50, "Q->AR": 50}
    with pytest.raises(SystemExit, match="val-0: answer_0 to answer_3 must all be numbers"):
        score("vcr", ("p.csv", "annot_id,answer_0\nval-0,0.5\nval-1,0.5"), annotations)


def test_captions_and_the_domains_of_nocaps(score):
    images = [{"id": n, "domain": domain} for n, domain in enumerate(["in-domain", "in-domain", "out-domain"])]
    texts = ["A dog sits.", "A cat runs.", "The bus stops."]
    annotations = {
        "images": images,
        "annotations": [{"image_id": n, "id": n, "caption": t} for n, t in enumerate(texts)],
    }
    said = [{"image_id": n, "caption": text.lower()} for n, text in enumerate(texts)]
    result = score("nocaps", ("p.json", said), ("a.json", annotations), "--no-java")
    metrics = result["metrics"]
    assert metrics["BLEU-1"] == pytest.approx(100)
    assert metrics["ROUGE-L"] == pytest.approx(100)
    assert metrics["CIDEr"] == pytest.approx(750)  # no caption has four words
    assert metrics["in-domain/CIDEr"] == pytest.approx(750)
    assert metrics["out-domain/CIDEr"] == 0  # one picture alone has no rare words
    assert "no METEOR: off; no SPICE: off" in result["protocol"]


@pytest.fixture
def refcoco(tmp_path):
    folder = tmp_path / "refcoco+"
    folder.mkdir()
    boxes = [[0, 0, 10, 10], [20, 20, 10, 10]]
    instances = {
        "images": [{"id": 5, "file_name": "x.jpg", "width": 40, "height": 40}],
        "annotations": [{"id": n, "image_id": 5, "category_id": 1, "bbox": box} for n, box in enumerate(boxes)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (folder / "instances.json").write_text(json.dumps(instances))
    refs = [
        {"ref_id": n, "ann_id": n, "image_id": 5, "split": "testA", "sent_ids": [n], "category_id": 1,
         "sentences": [{"sent_id": n, "sent": "the cat", "raw": "The cat", "tokens": ["the", "cat"]}]}
        for n in range(2)
    ]  # fmt: skip
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    return folder


def test_refcoco_in_both_conventions(score, refcoco):
    said = [{"sent_id": 0, "box": [0, 0, 10, 5]}, {"sent_id": 1, "box": [20, 20, 10, 10]}]
    result = score("refcoco", ("p.json", said), refcoco, "--split", "testA")
    assert (result["metrics"]["accuracy"], result["metrics"]["accuracy_corners"]) == (50, 100)
    with pytest.raises(SystemExit, match=r"has no split 'val'; it has \['testA'\]"):
        score("refcoco", ("p.json", said), refcoco)


def test_a_refs_file_with_code_in_it_is_refused(score, refcoco):
    (refcoco / "refs(unc).p").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    with pytest.raises(SystemExit, match=r"refs\(unc\)\.p is not a refs file of plain values: it names os\.system"):
        score("refcoco", ("p.json", []), refcoco)
    assert not Path("executed").exists()


def test_retrieval(score, tmp_path):
    """Two pictures with two texts each; the file holds them in another order."""
    images = [{"imgid": n, "split": "test", "sentids": [2 * n, 2 * n + 1]} for n in range(2)] + [
        {"imgid": 2, "split": "train", "sentids": [9]}
    ]
    scores = np.array([[0.1, 0.2, 0.9, 0.1], [0.8, 0.3, 0.2, 0.1]], dtype=np.float16)
    np.savez(tmp_path / "p.npz", scores=scores, image_ids=[1, 0], sentence_ids=[0, 1, 2, 3])
    result = score("retrieval", tmp_path / "p.npz", ("dataset.json", {"images": images}))
    assert result["n"] == 4
    assert result["metrics"]["image_to_text/R@1"] == 100
    assert result["metrics"]["text_to_image/R@1"] == 75  # text 3 scores alike with both
    np.savez(tmp_path / "p.npz", scores=scores, image_ids=[1, 1], sentence_ids=[0, 1, 2, 3])
    with pytest.raises(SystemExit, match="has an id twice"):
        score("retrieval", tmp_path / "p.npz", ("dataset.json", {"images": images}))
