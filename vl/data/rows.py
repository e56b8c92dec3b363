"""Reading rows of text files, with errors that name the file and the line."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: it is missing or no JSON; names the file, and the line where it breaks off.
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}")
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a JSON list, of JSON lines (.jsonl) or of a CSV file with a header.

    Raises:
        ValueError: a line is malformed; names file and line.
    """
    path = Path(path)
    if path.suffix == ".json":
        rows = read_json(path)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path} is not a JSON list of objects")
        return rows
    if path.suffix == ".csv":
        return list(csv.DictReader(lines(path)))
    return read_json_lines(path)


def read_json_lines(path: str | Path) -> list[Row]:
    """The rows of a file with one JSON object a line; empty lines are left out.

    Raises:
        ValueError: a line is malformed; names file and line.
    """
    rows: list[Row] = []
    for number, line in enumerate(lines(path), start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is no JSON: {error}") from error
        if row is not None and not isinstance(row, dict):
            raise ValueError(f"{path}, line {number} is not a JSON object")
        if row is not None:
            rows.append(row)
    return rows


def lines(path: str | Path) -> list[str]:
    """The lines of a file.

    Raises:
        ValueError: there is none, or it is not UTF-8; names it.
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}")
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error


class Lines(Sequence[tuple[int, str]]):
    """The lines of a large file as (number from 1, text), read when they are asked for; a slice is as lazy.

    It pickles as a path and offsets, so that other processes read for themselves.

    Raises:
        ValueError: there is no such file.
    """

    def __init__(self, path: str | Path, skip: int = 0) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"there is no file {path}")
        lengths = np.fromiter(map(len, self.path.open("rb")), dtype=np.int64)
        self.first, self.ends = 1 + skip, np.concatenate([[0], np.cumsum(lengths)])[skip:]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            part = object.__new__(Lines)
            part.path, part.first, part.ends = self.path, self.first + start, self.ends[start : max(start, stop) + 1]
            return part
        if not 0 <= index < len(self):
            raise IndexError(index)
        with self.path.open("rb") as file:
            file.seek(int(self.ends[index]))
            return self._line(index, file.read(int(self.ends[index + 1] - self.ends[index])))

    def __iter__(self):
        with self.path.open("rb") as file:
            file.seek(int(self.ends[0]))
            for index in range(len(self)):
                yield self._line(index, file.readline())

    def _line(self, index: int, data: bytes) -> tuple[int, str]:
        try:
            return self.first + index, data.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}, line {self.first + index} is not UTF-8: {error}") from error
