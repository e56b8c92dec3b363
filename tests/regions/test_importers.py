"""Published formats come back: files written in their layout, imported, read from shards; malformed ones are named."""

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from vl.data.regions_member import read_regions
from vl.regions.pictures import read_shard

sys.path.append(str(Path(__file__).parents[2] / "tools"))
from import_regions import main

KEYS = ("COCO_train2014_000000000009", "COCO_train2014_000000000025")
HEIGHT, WIDTH = 480, 640


def arrays(count, seed=0):
    """Features, boxes in 0..1, class probabilities (background first) and confidence, highest first."""
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.random((count, 2, 2)), axis=1).reshape(count, 4)
    boxes[0] = (0, 0, 1, 1)  # VLP divides by the largest coordinate
    logits = rng.normal(size=(count, 1601)) * 3
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return rng.random((count, 2048)), boxes, probs, np.sort(rng.random(count))[::-1]


def shuffled(values, seed=5):
    """The order of files that do not sort by confidence."""
    order = np.random.default_rng(seed).permutation(len(values[0]))
    return tuple(value[order] for value in values)


def packed(array, dtype):
    return base64.b64encode(np.ascontiguousarray(array).astype(dtype).tobytes()).decode()


def write_lxmert(folder, pictures):
    lines = []
    for key, (features, boxes, probs, confidence) in pictures.items():
        classes = probs[:, 1:].argmax(axis=1)
        fields = [key, HEIGHT, WIDTH, packed(classes, "<i8"), packed(confidence, "<f4"), packed(classes % 400, "<i8"),
                  packed(confidence, "<f4"), len(boxes), packed(pixels(boxes), "<f4"),
                  packed(features, "<f4")]  # fmt: skip
        lines.append("\t".join(map(str, fields)) + "\n")
    (folder / "obj36.tsv").write_text("".join(lines))
    return folder / "obj36.tsv"


def pixels(boxes):
    return boxes * np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])


def uniter_arrays(features, boxes, probs, confidence):
    sides = boxes[:, 2:] - boxes[:, :2]
    found = {"norm_bb": np.concatenate([boxes, sides], axis=1), "features": features}
    found |= {"conf": confidence[:, None], "soft_labels": probs}
    return {name: value.astype(np.float16) for name, value in found.items()}


def write_uniter_npz(folder, pictures):
    for key, values in pictures.items():
        np.savez(folder / f"{key}.npz", **uniter_arrays(*values))
    return folder


def write_uniter_lmdb(folder, pictures):
    """One picture as npz, one as msgpack-numpy writes it."""
    import lmdb
    import msgpack

    values = {}
    for number, (key, picture) in enumerate(pictures.items()):
        stored = uniter_arrays(*picture)
        if number % 2:
            as_map = {n: {b"nd": True, b"type": a.dtype.str, b"kind": b"", b"shape": a.shape, b"data": a.tobytes()}
                      for n, a in stored.items()}  # fmt: skip
            values[f"{key}.npz"] = msgpack.packb(as_map, use_bin_type=True)
        else:
            np.savez(buffer := io.BytesIO(), **stored)
            values[f"{key}.npz"] = buffer.getvalue()
    with lmdb.open(str(folder / "db"), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
        transaction.put(b"__keys__", json.dumps(list(values)).encode())
    return folder / "db"


def write_milvlg(folder, pictures):
    for key, (features, boxes, _, _) in pictures.items():
        info = {"image_id": key, "objects_id": np.zeros(len(boxes))}
        size = {"num_bbox": len(boxes), "image_h": HEIGHT, "image_w": WIDTH}
        np.savez_compressed(folder / key, x=features.astype("f4"), bbox=pixels(boxes).astype("f4"), info=info, **size)
    return folder


def write_oscar(folder, pictures):
    lines, labels = [], []
    for key, (features, boxes, probs, confidence) in pictures.items():
        table = np.concatenate([features, boxes, boxes[:, 2:] - boxes[:, :2]], axis=1)
        lines.append(f"{key}\t" + json.dumps({"num_boxes": len(boxes), "features": packed(table, "<f4")}) + "\n")
        named = [{"class": f"thing {p.argmax()}", "conf": float(c)} for p, c in zip(probs, confidence, strict=True)]
        labels.append(f"{key}\t{json.dumps(named)}\n")
    (folder / "train.feature.tsv").write_text("".join(lines))
    starts = np.cumsum([0, *(len(line) for line in lines[:-1])])
    (folder / "train.feature.lineidx").write_text("".join(f"{start}\n" for start in starts))
    (folder / "train.label.tsv").write_text("".join(labels))
    return folder / "train.feature.tsv"


def write_vlp(folder, pictures):
    import h5py

    (folder / "raw_bbox").mkdir()
    (folder / "feat_cls_1000").mkdir()
    name = "coco_detection_vg_100dets_vlp_checkpoint_trainval"
    with h5py.File(folder / "raw_bbox" / f"{name}_bbox.h5", "w") as file:
        for key, (_, boxes, probs, confidence) in pictures.items():
            labels = probs.argmax(axis=1)
            file[key] = np.concatenate([pixels(boxes), labels[:, None], confidence[:, None]], axis=1).astype("f4")
    for key, (features, _, probs, _) in pictures.items():
        for part, value in (("feat", features), ("cls", probs)):
            with h5py.File(folder / "feat_cls_1000" / f"{name}_{part}{key[-3:]}.h5", "w") as file:
                file[key] = value.astype("f4")
    return folder


FORMATS = {
    "lxmert": write_lxmert,
    "uniter-npz": write_uniter_npz,
    "uniter-lmdb": write_uniter_lmdb,
    "milvlg": write_milvlg,
    "oscar": write_oscar,
    "vlp": write_vlp,
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_in_the_real_layout_comes_back_sorted_by_confidence(tmp_path, name):
    pictures = {key: arrays(10 + number, number) for number, key in enumerate(KEYS)}
    (tmp_path / "in").mkdir()
    given = pictures if name == "milvlg" else {key: shuffled(values) for key, values in pictures.items()}
    path = FORMATS[name](tmp_path / "in", given)
    main([name, str(path), "--out", str(tmp_path / "out"), "--split", "train"])
    samples = dict(read_shard(tmp_path / "out/train-000000.tar"))
    assert samples.keys() == set(KEYS)
    for key, (features, boxes, probs, confidence) in pictures.items():
        found = read_regions(samples[key]["regions.safetensors"])
        np.testing.assert_allclose(found.features, features, atol=1e-3)
        np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)
        if name.startswith("uniter") or name == "vlp":
            np.testing.assert_allclose(found.class_probs, probs, atol=1e-3)
        if name == "lxmert":
            best = probs[:, 1:].argmax(axis=1) + 1
            np.testing.assert_allclose(found.class_probs[np.arange(len(best)), best], confidence, atol=1e-3)
            np.testing.assert_allclose(found.class_probs[:, 0], 1 - confidence, atol=1e-3)
        if name != "milvlg":
            np.testing.assert_allclose(found.confidence, confidence, atol=1e-3)
        record = json.loads(samples[key]["json"])
        assert record["source"] == key
        if name in ("lxmert", "milvlg"):
            assert (record["height"], record["width"]) == (HEIGHT, WIDTH)
        if name == "oscar":
            assert record["tags"][0] == f"thing {probs[0].argmax()}"


def run(tmp_path, name, path):
    main([name, str(path), "--out", str(tmp_path / "out"), "--split", "train"])


def test_a_broken_line_is_named_and_leaves_no_shard(tmp_path):
    path = write_lxmert(tmp_path, {key: arrays(10) for key in KEYS})
    first, second = path.read_text().splitlines()
    fields = second.split("\t")
    fields[8] = fields[8][:80]  # boxes cut short
    path.write_text(first + "\n" + "\t".join(fields) + "\n")
    with pytest.raises(SystemExit, match=r"obj36.tsv, line 2: boxes: .* shape is \(10, 4\)"):
        run(tmp_path, "lxmert", path)
    assert not list((tmp_path / "out").glob("*.tar"))
    path.write_text("only\tthree\tcolumns\n")
    with pytest.raises(SystemExit, match="line 1: 3 columns where LXMERT has 10"):
        run(tmp_path, "lxmert", path)


def test_boxes_of_another_convention_are_refused(tmp_path):
    features, boxes, probs, confidence = arrays(10)
    path = write_lxmert(tmp_path, {KEYS[0]: (features, boxes * 3, probs, confidence)})
    with pytest.raises(SystemExit, match="line 1: boxes leave the picture of 640 x 480 pixels"):
        run(tmp_path, "lxmert", path)


def test_a_lineidx_of_another_file_is_noticed(tmp_path):
    path = write_oscar(tmp_path, {key: arrays(10) for key in KEYS})
    (tmp_path / "train.feature.lineidx").write_text("0\n77\n")
    with pytest.raises(SystemExit, match=r"line 2: begins at byte \d+, but not so in train.feature.lineidx"):
        run(tmp_path, "oscar", path)


def test_pickles_are_never_opened(tmp_path):
    """MILVLG's `info` is one; UNITER's lmdb could hold one inside msgpack."""
    import lmdb
    import msgpack

    evil = {"features": {"nd": True, "type": "|O", "shape": [1], "data": b"cos\nsystem\n(S'true'\ntR."}}
    with lmdb.open(str(tmp_path / "db"), map_size=2**20) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"a.npz", msgpack.packb(evil))
    with pytest.raises(SystemExit, match=r"db, a.npz: an array of pickled objects"):
        run(tmp_path, "uniter-lmdb", tmp_path / "db")
    np.savez(tmp_path / "b.npz", x=np.array([{}]), bbox=np.zeros((1, 4)), num_bbox=1, image_h=1, image_w=1)
    with pytest.raises(SystemExit, match=r"b.npz, its arrays: .*allow_pickle"):
        run(tmp_path, "milvlg", tmp_path / "b.npz")


def test_pictures_are_packed_beside_their_regions(tmp_path):
    path = write_lxmert(tmp_path, {KEYS[0]: arrays(10)})
    (tmp_path / "images").mkdir()
    options = ["lxmert", str(path), "--out", str(tmp_path / "out"), "--split", "train", "--images"]
    with pytest.raises(SystemExit, match=f"no picture of {KEYS[0]}"):
        main([*options, str(tmp_path / "images")])
    (tmp_path / "images" / f"{KEYS[0]}.jpg").write_bytes(b"jpeg")
    main([*options, str(tmp_path / "images")])
    assert dict(read_shard(tmp_path / "out/train-000000.tar"))[KEYS[0]]["jpg"] == b"jpeg"
