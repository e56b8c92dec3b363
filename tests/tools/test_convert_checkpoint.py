"""The command, as a user types it."""

import pytest
import torch
from evaluation.small import tiny_clip
from torch.testing import assert_close

from vl.checkpoints.bundle import load


class Payload:
    def __reduce__(self):
        return open, ("executed", "w")


def test_there_and_back(tmp_path, run_tool):
    source = tiny_clip(tmp_path)[1]
    weights = load(source).model.state_dict()
    for command in ("vl", "open_clip", "hugging_face"):
        run_tool("convert_checkpoint", command, source, tmp_path / command)
        run_tool("convert_checkpoint", "vl", tmp_path / command, tmp_path / f"{command}_again")
        assert_close(load(tmp_path / f"{command}_again").model.state_dict(), weights, rtol=0, atol=0)


def test_mistakes_end_in_one_clear_line(tmp_path, run_tool, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Payload()}, tmp_path / "evil.ckpt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/config.json").write_text('{"schema": 1, "model": {"class_path": "os.system"}}')
    for command, source, message in [
        ("vl", "evil.ckpt", "is refused: loading it would run"),
        ("open_clip", "folder", "names the class 'os.system'"),
        ("hugging_face", "nowhere", "there is no checkpoint at nowhere"),
        ("consolidate", "folder", "has no .metadata"),
        ("vl", "ViT-B-32", "name its weights too"),
    ]:
        with pytest.raises(SystemExit, match=message) as caught:
            run_tool("convert_checkpoint", command, source, "out")
        assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists()
