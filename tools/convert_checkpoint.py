"""Convert checkpoints between VL, open_clip, OpenAI and Hugging Face, and join sharded ones.

python tools/convert_checkpoint.py open_clip runs/clip/last.ckpt OUT    # open_clip: local-dir:OUT
python tools/convert_checkpoint.py hugging_face runs/clip/last.ckpt OUT # CLIPModel.from_pretrained(OUT)
python tools/convert_checkpoint.py vl ViT-B-32:laion2b_s34b_b79k OUT    # also ViT-B-32.pt of OpenAI, or an HF folder
python tools/convert_checkpoint.py vqgan last.ckpt OUT                  # an image tokenizer of taming-transformers
python tools/convert_checkpoint.py consolidate runs/clip/step-100.ckpt OUT.ckpt
"""

from __future__ import annotations

import argparse
import sys

from vl.checkpoints.bundle import load
from vl.checkpoints.consolidate import consolidate
from vl.checkpoints.export import write_hugging_face, write_open_clip
from vl.checkpoints.vqgan import read_vqgan

COMMANDS = {
    "vl": lambda source, target: load(source).save(target),
    "vqgan": lambda source, target: read_vqgan(source).save(target),
    "open_clip": lambda source, target: write_open_clip(load(source), target),
    "hugging_face": lambda source, target: write_hugging_face(load(source), target),
    "consolidate": consolidate,
}


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS, help="what to write")
    parser.add_argument("source", help="any checkpoint (to consolidate: a sharded folder)")
    parser.add_argument("target", help="the folder (consolidate: the file) to write")
    arguments = parser.parse_args(words)
    try:
        print(COMMANDS[arguments.command](arguments.source, arguments.target))
    except (ValueError, OSError) as error:
        sys.exit(f"convert_checkpoint: {error}")


if __name__ == "__main__":
    main()
