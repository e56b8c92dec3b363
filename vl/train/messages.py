"""Parser errors in a few lines: which key, in which file, what is nearest to it, what there is."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_UNKNOWN_KEY = re.compile(r"(?:[Oo]ption|arguments:) '?(?:--)?([\w.+-]+)'?")
_NO_ATTRIBUTE = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
_NO_MODULE = re.compile(r"No module named '([\w.]+)'")
#: What jsonargparse says of every class it cannot make, after the reason.
_EMPTY_WORDS = re.compile(r"Expected a <class 'NoneType'>|Subclass types expect one of|^\s+a (class path|dict with)")
_WRONG_TYPE = re.compile(r"Expected a (<|typing\.)|Not of type")
_WRONG_BASE = re.compile(r"Import path ([\w.]+) does not correspond to a subclass of (\w+)")


def shorten(message: str, options: Iterable[str], files: Sequence[str] = ()) -> str:
    """A parser's error message as one sentence and its remedy.

    Args:
        message: What jsonargparse says: nested lines, one for each level of the configuration.
        options: Every option the parser knows, dotted.
        files: The configuration files that were read, to name the line at fault.
    """
    where, reason = _deepest(message)
    keys = re.findall(r'Parser key "([^"]+)"', where)
    classes = re.findall(r"class_path '([^']+)'", where)
    wrong, remedy = _remedy(reason, classes[-1] if classes else None, list(options))
    place = ".".join(keys) + (f" ({classes[-1]})" if classes else "")
    line = "" if "unrecognized" in reason else _find_line(wrong, files)
    return "\n  ".join(part for part in (f"{line}{place}{': ' if place else ''}{reason}", remedy) if part)


def suggest(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?` and the alternatives."""
    known = sorted(set(known))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    start = f"did you mean '{near[0]}'? " if near else ""
    shown = known if len(known) <= 30 else difflib.get_close_matches(name, known, n=8, cutoff=0.0)
    return f"{start}{'known' if len(known) <= 30 else 'nearest'}: {', '.join(shown)}"


def check_empty_keys(tree: Any, parameters: Iterable[str], place: str) -> None:
    """Refuse unknown keys that hold an empty mapping, below the arguments of a class; the parser ignores them.

    Raises:
        ValueError: names the key, its place and the nearest known one.
    """
    for name, value in tree.items() if isinstance(tree, dict) else ():
        if value == {} and name not in parameters:
            raise ValueError(f"{place}: '{name}' is not accepted\n  {suggest(name, parameters)}")
        for child in value if isinstance(value, list) else value.values() if _is_plain(value) else [value]:
            if isinstance(child, dict) and "class_path" in child:
                known = _parameters(child["class_path"])
                check_empty_keys(child.get("init_args"), known, f"{place}.{name} ({child['class_path']})")


def _is_plain(value: Any) -> bool:
    return isinstance(value, dict) and "class_path" not in value


def _deepest(message: str) -> tuple[str, str]:
    """(the lines that lead to the innermost problem, that problem), from an indented tree of problems."""
    lines = [line.replace("- ", "  ", 1) if line.lstrip().startswith("- ") else line for line in message.splitlines()]
    lines = [line for line in lines if line.strip() and not _EMPTY_WORDS.search(line)] or [message]
    depths = [len(line) - len(line.lstrip()) for line in lines]
    deepest = depths.index(max(depths))
    path, depth = [], depths[deepest]
    for index in range(deepest - 1, -1, -1):
        if depths[index] < depth:
            path.append(lines[index])
            depth = depths[index]
    if path and path[0].strip() == "Errors:":
        return "\n".join(reversed(path)), _union(lines, lines.index(path[0]), lines[deepest].strip())
    if not path and ": " in lines[deepest] and lines[deepest].startswith("Parser key"):
        head, _, reason = lines[deepest].partition(": ")
        return head, reason.strip()
    return "\n".join(reversed(path)), lines[deepest].strip()


def _union(lines: list[str], errors: int, reason: str) -> str:
    """Why a value is none of several types: all of them, or the reason if it says more than a type; and the value."""
    given = next((line for line in lines[errors:] if line.strip().startswith("Given value: ")), "")
    if "Got value" in reason or not given or not _WRONG_TYPE.match(reason):
        return reason
    if reason.startswith("Expected"):
        kinds = lines[errors - 1].strip().removeprefix("Subtypes: [").removesuffix("]")
        kinds = re.sub(r"typing\.Literal\[(.*?)\]", r"\1", kinds)
        kinds = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", kinds)
        reason = f"Expected one of {kinds.replace('NoneType', 'null')}"
    return f"{reason}. Got value: {given.partition(': ')[2]}"


def _remedy(reason: str, owner: str | None, options: list[str]) -> tuple[str, str]:
    """(the name at fault, what to do about it)."""
    if match := _NO_ATTRIBUTE.search(reason):
        return match[2], suggest(match[2], _classes(match[1]))
    if match := _NO_MODULE.search(reason):
        return match[1].rpartition(".")[2], _suggest_module(match[1])
    if match := _WRONG_BASE.search(reason):
        return match[1], ""
    if "not accept" not in reason and "unrecognized" not in reason:
        return "", ""
    names = _UNKNOWN_KEY.findall(reason)
    if not names:
        return "", ""
    name = names[-1]
    if owner is not None:
        return name.partition(".")[0], suggest(name.partition(".")[0], _parameters(owner))
    return _suggest_option(name, options)


def _suggest_option(name: str, options: list[str]) -> tuple[str, str]:
    """(the first part of a dotted option that is not known, what stands in its place)."""
    parts = name.split(".")
    for depth, part in enumerate(parts):
        below = [option.split(".") for option in options if option.count(".") >= depth]
        known = {option[depth] for option in below if option[:depth] == parts[:depth]}
        if part not in known:
            return part, suggest(part, known)
    return parts[-1], ""


def _classes(module: str) -> list[str]:
    """The classes of a module, and its modules if it is a package."""
    loaded = importlib.import_module(module)
    modules = [found.name for found in pkgutil.iter_modules(getattr(loaded, "__path__", []))]
    own = [name for name, value in vars(loaded).items() if inspect.isclass(value) and value.__module__ == module]
    return own + modules


def _parameters(path: str) -> list[str]:
    module, _, name = path.rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(module), name).__init__)
    return [name for name, kind in signature.parameters.items() if name != "self" and kind.kind is not kind.VAR_KEYWORD]


def _suggest_module(name: str) -> str:
    """The modules beside the one that does not exist."""
    package, _, last = name.rpartition(".")
    if not package:
        return "is it installed, and spelt right? The classes of this library begin with vl."
    try:
        path = importlib.import_module(package).__path__
    except (ImportError, AttributeError):
        return _suggest_module(package)
    return suggest(last, (module.name for module in pkgutil.iter_modules(path)))


def _find_line(name: str, files: Sequence[str]) -> str:
    """`file:line: ` of the last file that mentions the name as a key or as part of a class path."""
    for file in reversed(files):
        for number, line in enumerate(Path(file).read_text().splitlines(), start=1) if name else ():
            if re.search(rf"(^\s*(-\s*)?|[{{,]\s*){re.escape(name)}\s*:|[.\s]{re.escape(name)}\s*[,}}]?\s*$", line):
                return f"{file}:{number}: "
    return ""
