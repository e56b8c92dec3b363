"""The recipes of released data sets: each converts its fixture, three rows in the real layout, in process."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest
from pictures import in_folder, in_shard, in_zip, picture

from vl.data import tar
from vl.data.card import read_card, verify_shards
from vl.data.sample import Sample

DATASETS = Path(__file__).resolve().parents[2] / "datasets"


@pytest.fixture
def convert(tmp_path):
    """Run a recipe on its fixture (or what is put in its place), and read what it wrote."""

    def run(name, annotations, images, *options, out=tmp_path / "out"):
        path = DATASETS / name / "convert.py"
        spec = importlib.util.spec_from_file_location(f"{name}_recipe", path)
        recipe = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(recipe)
        source = annotations if isinstance(annotations, Path) else DATASETS / name / "fixture" / annotations
        images = images if isinstance(images, list) else [images]
        words = ["--annotations", source, "--images", *images, "--out", out, "--workers", "1", *options]
        recipe.main([str(word) for word in words])
        card = read_card(out)
        assert verify_shards(out, card) == []
        assert card.name
        assert card.licence
        return {split: samples(out, card, split) for split in card.splits if card.files(split)}

    return run


def samples(folder, card, split):
    """The samples of a split by key, read as they lie in its shards."""
    found = {}
    for name in card.files(split):
        with (folder / name).open("rb") as file:
            for key, members in tar.samples(file.fileno(), name):
                data = {kind: os.pread(file.fileno(), member.size, member.offset) for kind, member in members.items()}
                found[key] = Sample(key, data)
    return found


def records(split):
    return [sample.record for sample in split.values()]


COCO = ["train2014/COCO_train2014_000000000009.jpg", "val2014/COCO_val2014_000000000042.jpg",
        "val2014/COCO_val2014_000000000073.jpg"]  # fmt: skip
FLICKR = ["1000092795.jpg", "10002456.jpg", "1000268201.jpg"]


@pytest.mark.parametrize("place", ["folder", "flat folder", "zip", "zip with a folder at its top", "two zips"])
def test_coco_from_wherever_its_pictures_are(convert, tmp_path, place, capsys):
    images = {
        "folder": lambda: in_folder(tmp_path / "i", COCO),
        "flat folder": lambda: in_folder(tmp_path / "i", [name.split("/")[1] for name in COCO]),
        "zip": lambda: in_zip(tmp_path / "i.zip", COCO),
        "zip with a folder at its top": lambda: in_zip(tmp_path / "i.zip", COCO, "coco/"),
        "two zips": lambda: [in_zip(tmp_path / "a.zip", COCO[:1]), in_zip(tmp_path / "b.zip", COCO[1:])],
    }[place]()
    found = convert("coco", "dataset_coco.json", images)
    assert {split: list(part) for split, part in found.items()} == {
        "train": ["COCO_train2014_000000000009"],
        "restval": ["COCO_val2014_000000000042"],
        "test": ["COCO_val2014_000000000073"],
    }
    (record,) = records(found["train"])
    assert [caption.text for caption in record.captions] == ["A red bus stops at a corner.", "A bus in the street."]
    assert (record.width, record.height, record.source) == (32, 24, "coco/9")
    assert "samples/s)" in capsys.readouterr().out


def test_missing_pictures_are_counted_and_listed(convert, tmp_path, capsys):
    images = in_folder(tmp_path / "i", COCO[:1])
    (images / "COCO_val2014_000000000042.jpg").write_bytes(b"no picture")
    found = convert("coco", "dataset_coco.json", images)
    assert list(found) == ["train"]
    listed = (tmp_path / "out/missing.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == COCO[1:]
    assert "cannot be opened" in listed[0]
    assert listed[1].endswith("not found")
    assert "2 pictures are missing: see" in capsys.readouterr().out
    convert("coco", "dataset_coco.json", images)
    assert "is complete: train 1, restval 0, val 0, test 0; to look for missing" in capsys.readouterr().out
    in_folder(images, COCO)
    (tmp_path / "out/dataset.json").unlink()
    assert list(convert("coco", "dataset_coco.json", images)) == ["train", "restval", "test"]
    assert not (tmp_path / "out/missing.txt").exists()
    with pytest.raises(SystemExit, match=r"none of the 3 pictures can be had, the first: train2014.*not found"):
        convert("coco", "dataset_coco.json", in_folder(tmp_path / "none", ["x.jpg"]), out=tmp_path / "other")
    with pytest.raises(SystemExit, match="there are no pictures at"):
        convert("coco", "dataset_coco.json", tmp_path / "nowhere", out=tmp_path / "other")


def test_flickr30k_with_the_boxes_of_its_entities(convert, tmp_path):
    entities = DATASETS / "flickr30k/fixture/entities"
    images = in_folder(tmp_path / "i", FLICKR)
    found = convert("flickr30k", "dataset_flickr30k.json", images, "--entities", entities)
    (bus,), (cats,) = records(found["train"]), records(found["val"])
    assert [(one.text, one.type) for one in bus.expressions] == [("A red bus", "vehicles"), ("A bus", "vehicles")]
    assert bus.expressions[0].box == (4 / 32, 6 / 24, 28 / 32, 20 / 24)
    assert cats.expressions[0].box == (2 / 32, 8 / 24, 26 / 32, 20 / 24)  # around both cats
    assert [one.text for one in cats.groundings] == ["Two cats sleep on a sofa .", "Cats on a couch ."]
    assert len(cats.groundings[0].phrases[0].boxes) == 2
    assert not records(convert("flickr30k", "dataset_flickr30k.json", images, out=tmp_path / "o")["train"])[
        0
    ].expressions


def test_flickr30k_in_the_splits_of_its_entities(convert, tmp_path):
    entities = tmp_path / "entities"
    shutil.copytree(DATASETS / "flickr30k/fixture/entities", entities)
    (entities / "val.txt").write_text("1000268201\n")
    (entities / "test.txt").write_text("1234\n")  # a picture that Karpathy's file lacks
    for old, new in (
        ("Annotations/10002456.xml", "Annotations/1234.xml"),
        ("Sentences/10002456.txt", "Sentences/1234.txt"),
    ):
        (entities / old).rename(entities / new)
    images = in_folder(tmp_path / "i", [*FLICKR, "1234.jpg"])
    found = convert("flickr30k", "dataset_flickr30k.json", images, "--entities", entities, "--splits", "entities")
    assert {split: list(part) for split, part in found.items()} == {
        "train": ["1000092795"], "val": ["1000268201"], "test": ["1234"]}  # fmt: skip
    (unknown,) = records(found["test"])
    assert (unknown.captions, unknown.groundings[0].id) == ((), "1234-0")
    with pytest.raises(SystemExit, match="--splits entities needs --entities"):
        convert("flickr30k", "dataset_flickr30k.json", images, "--splits", "entities", out=tmp_path / "o")


CC3M = ["http://example.org/bus.jpg", "http://example.org/a/top.jpg?w=3", "http://example.org/girl.png"]


@pytest.mark.parametrize("place", ["shards of img2dataset", "folder by number"])
def test_conceptual_captions(convert, tmp_path, place):
    if place == "folder by number":
        images = in_folder(tmp_path / "i", [f"{number:09d}.jpg" for number in (1, 2, 3)])
    else:
        images = str(in_shard(tmp_path / "00000.tar", CC3M[::-1]))
    found = convert("conceptual_captions", "Train_GCC-training.tsv", images, "--split", "train")
    assert records(found["train"])[0].captions[0].text == "a very typical bus station"
    if place != "folder by number":
        assert found["train"]["000000001"].image() == picture(CC3M[0])


def test_conceptual_captions_12m_has_its_columns_the_other_way_round(convert, tmp_path):
    # img2dataset's own key of this picture, 000000001, is the number of the first row
    images = str(in_shard(tmp_path / "00000.tar", ["https://example.org/else.jpg", "https://example.org/2.jpg"]))
    found = convert("conceptual_captions", "cc12m.tsv", images, "--split", "train")
    assert [record.captions[0].text for record in records(found["train"])] == ["Fabric by the yard"]
    assert len((tmp_path / "out/missing.txt").read_text().splitlines()) == 2


def test_sbu_and_wukong(convert, tmp_path):
    urls = [f"http://static.flickr.com/1/{number}.jpg" for number in (11, 12, 13)]
    found = convert("sbu", "sbu-captions-all.json", str(in_shard(tmp_path / "0.tar", urls)))
    assert [record.captions[0].text for record in records(found["train"])][2] == "The cat in the box"
    images = in_folder(tmp_path / "i", [f"{number:09d}.jpg" for number in (1, 2, 3)])
    found = convert("wukong", "wukong_100m_0.csv", images, out=tmp_path / "wukong")
    captions = [record.captions[0] for record in records(found["train"])]
    assert [caption.text for caption in captions] == ["一只猫, 在沙发上", "红色的公共汽车", '他说"你好"']
    assert {caption.language for caption in captions} == {"zh"}


def test_visual_genome(convert, tmp_path):
    found = convert("visual_genome", "", in_zip(tmp_path / "i.zip", ["1.jpg", "2.jpg", "52.jpg"], "VG_100K/"))
    every = found["train"] | found.get("val", {})
    record = every["vg-2"].record
    assert record.source == "visual_genome/2 coco/73"
    assert [(one.text, one.box) for one in record.expressions] == [
        ("a red bus", (4 / 32, 6 / 24, 28 / 32, 20 / 24)),
        ("the sky", (0, 0, 1, 6 / 24)),  # drawn beyond the edge
    ]
    assert record.captions[0].text == "a red bus"
    assert (record.qa[0].question, record.qa[0].answers) == ("What color is the bus?", ("Red",))
    assert (record.objects[0].name, record.objects[0].attributes) == ("bus", ("red", "parked"))


def test_vqa_v2(convert, tmp_path):
    names = ["train2014/COCO_train2014_000000000009.jpg", "COCO_val2014_000000000042.jpg",
             "test2015/COCO_test2015_000000000001.jpg"]  # fmt: skip
    found = convert("vqa_v2", "", in_folder(tmp_path / "i", names))
    (record,) = records(found["train"])
    assert [question.id for question in record.qa] == ["9000", "9001"]
    assert record.qa[0].answers == ("yes",) * 7 + ("no",) * 3
    assert record.qa[1].type == "number"
    assert records(found["test"])[0].qa[0].answers == ()


def test_gqa(convert, tmp_path):
    images = in_folder(tmp_path / "i", ["2375429.jpg", "2392460.jpg"])
    found = convert("gqa", "val_balanced_questions.json", images, "--split", "val")
    first, second = records(found["val"])
    assert [(question.id, question.answers, question.type) for question in first.qa] == [
        ("01", ("red",), "attr"), ("02", ("blue",), "attr")]  # fmt: skip
    assert second.qa[0].program[1]["operation"] == "query"


def test_nlvr2(convert, tmp_path):
    names = [f"dev-850-{pair}-img{side}.png" for pair in range(2) for side in range(2)]
    found = convert("nlvr2", "dev.json", in_folder(tmp_path / "i", names), "--split", "dev")
    sample = found["dev"]["dev-850-0"]
    assert sample.image("left") == picture("dev-850-0-img0.png", "PNG")
    assert sample.image("right") == picture("dev-850-0-img1.png", "PNG")
    assert [(one.id, one.label) for one in sample.record.statements] == [("dev-850-0-0", True), ("dev-850-0-1", False)]
    names = [f"63/train-10171-0-img{side}.png" for side in range(2)]
    train = convert("nlvr2", "train.json", in_folder(tmp_path / "t", names), "--split", "train", out=tmp_path / "train")
    assert train["train"]["train-10171-0"].image("right") == picture(names[1], "PNG")


def test_snli_ve(convert, tmp_path):
    found = convert("snli_ve", "snli_ve_dev.jsonl", in_folder(tmp_path / "i", FLICKR), "--split", "dev")
    man, cats = records(found["dev"])
    assert [one.label for one in man.entailment] == ["entailment", "contradiction"]
    assert cats.entailment[0].hypothesis == "The cats are siblings."


def test_vcr(convert, tmp_path):
    images = tmp_path / "vcr1images"
    shutil.copytree(DATASETS / "vcr/fixture/vcr1images", images)
    in_folder(images, [f"lsmdc_m/f{number}@0.jpg" for number in range(2)])
    found = convert("vcr", "val.jsonl", images, "--split", "val")
    first, second = records(found["val"])
    assert [one.id for one in first.choices + second.choices] == ["val-0", "val-1", "val-2"]
    asked = first.choices[1]
    assert asked.question == "Why is Casey beside bus ?"
    assert asked.choices[0] == "Casey and Riley wait ."
    assert (asked.label, asked.rationale_label, asked.rationales[0]) == (1, 0, "The bus is late .")
    assert (first.objects[2].name, first.objects[2].box) == ("bus", (4 / 32, 6 / 24, 28 / 32, 20 / 24))


def test_refcoco(convert, tmp_path):
    names = [f"COCO_train2014_{number:012d}.jpg" for number in (9, 42, 73)]
    found = convert("refcoco", "refcoco+", in_zip(tmp_path / "i.zip", names, "train2014/"))
    assert set(found) == {"train", "val", "testA"}
    (record,) = records(found["testA"])
    assert [one.text for one in record.expressions] == ["left bus", "the red one"]
    assert record.expressions[0].box == (4 / 32, 6 / 24, 12 / 32, 18 / 24)
    assert [one.name for one in record.objects] == ["bus", "bus"]
    assert record.objects[0].box == record.expressions[0].box


def test_nocaps_keeps_its_domains(convert, tmp_path):
    images = in_folder(tmp_path / "i", [f"000{number}.jpg" for number in range(3)])
    found = convert("nocaps", "nocaps_val_4500_captions.json", images, "--split", "val")
    domains = [json.loads(sample.members["json"])["domain"] for sample in found["val"].values()]
    assert domains == ["in-domain", "near-domain", "out-domain"]
    assert len(records(found["val"])[0].captions) == 2


def test_the_chinese_ones(convert, tmp_path):
    found = convert("coco_cn", "", in_folder(tmp_path / "coco", COCO))
    assert [caption.text for caption in records(found["test"])[0].captions] == ["一个男人拿着风筝", "有人 放 风筝"]
    names = DATASETS / "flickr_cn/fixture/flickr30ktest.txt"
    found = convert("flickr_cn", "flickr30kzhb.caption.txt", in_folder(tmp_path / "flickr", FLICKR), "--split", "test",
                    "--names", names, out=tmp_path / "flickr_cn")  # fmt: skip
    assert [[caption.text for caption in record.captions] for record in records(found["test"])] == [["一个男人"] * 2]
    images = in_folder(
        tmp_path / "aic", [f"8f00f3d0f1008e085ab660e70dffced16a8259f{number}.jpg" for number in range(3)]
    )
    found = convert(
        "aic_icc", "caption_train_annotations_20170902.json", images, "--split", "train", out=tmp_path / "icc"
    )
    assert [record.captions[1].text for record in records(found["train"])] == ["一只猫在房间里"] * 3


MALFORMED = [
    ("coco", "dataset_coco.json", '{"images": [{"split": "train"}]}', r"dataset_coco\.json, entry 0 of images", ()),
    ("conceptual_captions", "cc.tsv", "a cat\n", r"cc\.tsv, line 1 is not a caption and a URL", ("--split", "train")),
    ("sbu", "sbu.json", '{"image_urls": ["a"], "captions": []}', r"sbu\.json has no lists", ()),
    ("sbu", "sbu.json", '{"image_urls": ["a"], "captions": [3]}', r"sbu\.json, row 1 is not a URL and a caption", ()),
    ("wukong", "w.csv", "url,caption\nhttp://a,b\nhttp://a\n", r"w\.csv, line 3 is not `url,caption`", ()),
    ("gqa", "q.json", '{"07": {"question": "?"}}', r"q\.json, question 07 is malformed", ("--split", "val")),
    ("nlvr2", "dev.json", '{"identifier": "dev-1-0-0"}\n{', r"dev\.json, line 2 is no JSON", ("--split", "dev")),
    ("snli_ve", "d.jsonl", '{"pairID": "1"}', r"d\.jsonl, row 1 has no field 'sentence2'", ("--split", "dev")),
    ("vcr", "v.jsonl", '{"objects": []}', r"v\.jsonl, row 1 is malformed", ("--split", "val")),
    ("nocaps", "n.json", '{"images": [], "annotations": [{}]}', r"n\.json, entry 0 of annotations", ("--split", "val")),
    ("flickr_cn", "f.txt", "a#1 x\nno number\n", r"f\.txt, line 2 is not `PICTURE#NUMBER", ("--split", "test")),
    ("aic_icc", "a.json", '[{"image_id": "x.jpg"}]', r"a\.json, entry 0 is malformed: KeyError", ("--split", "train")),
]


@pytest.mark.parametrize(("name", "file", "content", "message", "options"), MALFORMED)
def test_a_malformed_row_is_named_with_its_file(convert, tmp_path, name, file, content, message, options):
    (tmp_path / file).write_text(content)
    with pytest.raises(SystemExit, match=message):
        convert(name, tmp_path / file, in_folder(tmp_path / "i", ["x.jpg"]), *options)
    assert not list((tmp_path / "out").glob("*.tar"))


def test_every_recipe_has_a_card_that_says_how_to_run_it():
    for recipe in DATASETS.glob("*/convert.py"):
        card = (recipe.parent / "README.md").read_text()
        assert card.lower().startswith(f"# {recipe.parent.name}\n"), recipe.parent.name
        assert f"python datasets/{recipe.parent.name}/convert.py" in card
        assert "icence" in card
