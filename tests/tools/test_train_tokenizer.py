"""What the tool that trains tokenizers says to files it cannot use."""

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "absent-*.tar"], "absent"),
        (["--data", "garbage.tar"], r"garbage\.tar cannot be used"),
        (["--data", "garbage.tar", "--extend", "absent.txt"], r"there is no file absent\.txt"),
        (["--data", "garbage.tar", "--extend", "garbage.tar"], r"garbage\.tar is not UTF-8"),
    ],
)
def test_mistakes_end_in_one_clear_line(run_tool, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "garbage.tar").write_bytes(b"\xff garbage")
    with pytest.raises(SystemExit, match=f"^train_tokenizer: .*{message}"):
        run_tool("train_tokenizer", *words, "--out", "tokenizer.json")
    assert not (tmp_path / "tokenizer.json").exists()
