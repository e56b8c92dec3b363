"""Install detectron2 into this Python's environment without a compiler: `make detectron2`.

It is not on PyPI, but a re-upload of it is (requirements-detectron2.txt, pinned by hash), tagged for Python 3.10 only.
Its Python runs on later ones; its compiled part (rotated boxes, deformable convolution, fast COCO scores) is for 3.10
and is removed: region features take RoIAlign and non-maximum suppression from torchvision.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What detectron2's Python imports.
NEEDED = ("fvcore==0.1.5.post20221221", "iopath==0.1.9", "omegaconf==2.3.1", "hydra-core==1.3.8", "yacs==0.1.8",
          "pycocotools==2.0.11", "tabulate==0.10.0", "cloudpickle==3.1.2", "termcolor==3.3.0")  # fmt: skip
WHEEL = ("--python-version", "3.10", "--implementation", "cp", "--abi", "none", "--platform", "any")


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "5", *arguments]
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit("detectron2 could not be installed: see pip's message above, then run `make detectron2` again.")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    site = Path(sysconfig.get_path("purelib"))
    folder, link = site / "_detectron2", site / "detectron2.pth"
    pip(*NEEDED)
    # Linked last, so that a killed installation is not taken for a whole one.
    link.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    required = ("--no-deps", "--require-hashes", "--only-binary=:all:", "--requirement", "requirements-detectron2.txt")
    pip(*required, *WHEEL, "--target", str(folder))
    shutil.rmtree(folder / "tools")
    for compiled in folder.glob("detectron2/_C.*.so"):
        compiled.unlink()
    link.write_text(f"{folder}\n")
    subprocess.run([sys.executable, "-c", "import detectron2.modeling"], check=True)
    print(f"detectron2 is installed in {folder}")


if __name__ == "__main__":
    main()
