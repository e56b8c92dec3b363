"""The shape of the JSON, the pairing of a comparison, and what makes a benchmark fail."""

import json
import math

import pytest

from vl.report.figures import Comparison, Finding, compare, rate, settings, write_bench, write_report


def test_pairs_alternate_after_the_warm_up():
    calls = []
    sides = {"ours": iter(range(100, 200)), "peer": iter(range(10, 20))}

    def side(name):
        return lambda: calls.append(name) or float(next(sides[name]))

    result = compare(side("ours"), side("peer"), name="n", case="c", unit="u/s", pairs=5, warmup=1)
    assert calls[:4] in (["peer", "ours", "ours", "peer"], ["ours", "peer", "peer", "ours"])
    assert result.pairs == [[100.0 + i, 10.0 + i] for i in range(1, 6)]
    assert (result.ours, result.peer) == (103, 13)
    assert result.ratio == pytest.approx(103 / 13)


def test_ratio_says_how_many_times_better_ours_is():
    lower = compare(lambda: 2.0, lambda: 6.0, name="n", case="c", unit="MB", better="lower")
    assert lower.ratio == 3
    alone = compare(lambda: 2.0, None, name="n", case="c", unit="s", better="lower")
    assert (alone.peer, alone.ratio, alone.pairs[0]) == (None, None, [2.0, None])
    with pytest.raises(ValueError, match="pairs=0"):
        compare(lambda: 1.0, None, name="n", case="c", unit="s", pairs=0)


def test_rate_counts_items_a_second():
    assert 0 < rate(lambda: sum(range(1000)), 5)() < math.inf


@pytest.mark.parametrize(("check", "passes"), [(None, True), (1e-6, True), (0.1, False), (math.nan, False)])
def test_a_check_beyond_tolerance_exits_1_after_writing(tmp_path, check, passes):
    result = Comparison("n", "c", "u", "higher", 1.0, 1.0, 1.0, [[1.0, 1.0]], check)
    path = tmp_path / "deep" / "bench.json"
    if passes:
        write_bench(path, [result], {}, tolerance=1e-3)
    else:
        with pytest.raises(SystemExit, match="n, c: ours and peer differ") as caught:
            write_bench(path, [result], {}, tolerance=1e-3)
        assert caught.value.code not in (0, None)
    content = json.loads(path.read_text())
    assert set(content) == {"schema", "quick", "results", "settings"}
    assert set(content["results"][0]) == {
        "name", "case", "unit", "better", "ours", "peer", "ratio", "pairs", "check", "settings",
    }  # fmt: skip
    assert not [p for p in path.parent.iterdir() if p != path]


def test_a_report_holds_its_settings_and_no_nan(tmp_path):
    shard = tmp_path / "a.tar"
    shard.write_bytes(b"abc")
    finding = Finding("vl", "retrieval", "val", "en", "2 images [of 2]", 2, {"R@1": 50.0, "other": math.nan})
    conditions = settings([shard, "https://host/b.tar"], seed=3)
    write_report(tmp_path / "r.json", [finding], conditions, seconds=1.234, quick=True)
    content = json.loads((tmp_path / "r.json").read_text())
    assert set(content) == {"schema", "quick", "results", "seconds", "settings"}
    assert (content["schema"], content["quick"]) == (1, True)
    assert content["results"][0]["metrics"] == {"R@1": 50.0, "other": None}
    held = content["settings"]
    assert held["shards"][str(shard)] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert held["shards"]["https://host/b.tar"] is None
    assert held["versions"]["torch"]
    assert held["seed"] == 3
