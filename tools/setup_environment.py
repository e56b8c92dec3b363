"""Make the virtual environment VL runs in: `make setup`. Needs nothing but Python 3.11 or newer and a package index.

Checks memory and disk first, copes with a Python that lacks ensurepip, retries broken downloads, and does nothing when
the environment already matches pyproject.toml. `TORCH_INDEX` names another index for torch (say, CPU wheels).
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The pip that is fetched when Python brings none.
PIP = ("pip-26.3-py3-none-any.whl", "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13")
EXTRAS = "data,demo,regions,dev,browser"
MEMORY_GIB, DISK_GIB, ATTEMPTS = 8, 10, 3


def memory_gib() -> float:
    """Memory of the machine or of the container, whichever is smaller."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(total, int(text) if text.isdigit() else total) / 2**30


def check_machine(venv: Path) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - the one file an older Python may be asked to run
        sys.exit(
            f"VL needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. "
            "Name another one: make PYTHON=/path/to/python3.11"
        )
    # A machine sold as 8 GB shows a little less.
    if memory_gib() < MEMORY_GIB * 0.9:
        sys.exit(
            f"VL needs {MEMORY_GIB} GB of memory; this machine has {memory_gib():.1f} GB. "
            "Use a larger machine, or raise the container's limit."
        )
    free = shutil.disk_usage(ROOT).free / 2**30
    if not venv.exists() and free < DISK_GIB:
        sys.exit(
            f"VL needs {DISK_GIB} GB of free disk; {ROOT} has {free:.1f} GB. "
            "Free some space or clone to another disk; TORCH_INDEX=https://download.pytorch.org/whl/cpu needs less."
        )


def fetch_pip(folder: Path) -> Path:
    """Download the pinned pip wheel from the package index, checked by its hash."""
    name, digest = PIP
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    page = urllib.request.urlopen(index, timeout=60).read().decode()
    found = re.search(rf'href="([^"]*{re.escape(name)}[^"]*)"', page)
    if not found:
        sys.exit(f"{index} does not offer {name}: install pip for {sys.executable}, then run make again.")
    wheel = folder / name
    wheel.write_bytes(urllib.request.urlopen(urllib.parse.urljoin(index, found[1]), timeout=60).read())
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != digest:
        sys.exit(f"{name} arrived damaged or is not the pinned file: run make again.")
    return wheel


def make_venv(venv: Path) -> Path:
    """Create the environment, with pip even where Python has no ensurepip; return its python."""
    python = venv / "bin" / "python"
    if python.exists() and subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return python
    shutil.rmtree(venv, ignore_errors=True)
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        wheel = fetch_pip(venv)
        subprocess.run([python, f"{wheel}/pip", "install", "--quiet", wheel], check=True)
    return python


def install(python: Path, *arguments: str) -> None:
    """pip install, tried again when a download breaks."""
    command = [python, "-m", "pip", "install", "--retries", "5", "--timeout", "60", *arguments]
    for attempt in range(1, ATTEMPTS + 1):
        if subprocess.run(command, cwd=ROOT).returncode == 0:
            return
        print(f"pip failed (attempt {attempt} of {ATTEMPTS})", flush=True)
        time.sleep(5 * attempt)
    sys.exit(
        "The packages could not be installed: see pip's message above. What is already there is kept; run make again."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where the environment goes (default: .venv)")
    venv = parser.parse_args().venv
    wanted = [ROOT / "pyproject.toml", ROOT / "requirements-no-deps.txt", Path(__file__)]
    stamp = venv / f".vl-{hashlib.sha256(b''.join(file.read_bytes() for file in wanted)).hexdigest()[:16]}"
    if stamp.exists():
        return
    check_machine(venv)
    python = make_venv(venv)
    import tomllib  # not before the check: Python 3.10 has none

    pins = tomllib.loads(wanted[0].read_text())["project"]["dependencies"]
    torch = [pin for pin in pins if pin.split("==")[0] in ("torch", "torchvision")]
    index = os.environ.get("TORCH_INDEX")
    install(python, *torch, *(["--index-url", index] if index else []))
    install(python, "--editable", f".[{EXTRAS}]")
    install(python, "--no-deps", "--requirement", "requirements-no-deps.txt")
    for old in venv.glob(".vl-*"):
        old.unlink()
    stamp.touch()
    print(f"The environment is ready: {venv}")


if __name__ == "__main__":
    main()
