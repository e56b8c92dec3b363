"""Paint prompts: candidates, ranked, as a grid and as JSON with every score and the seed.

python tools/generate.py --model RUN --tokenizer RUN --prompt "a red cat on the left" --candidates 8 --out runs/painted
python tools/generate.py ... --rerank clip --clip RUN         python tools/generate.py ... --rerank self --captioner RUN
python tools/generate.py ... --complete picture.png --rows 4  # the upper 4 rows of codes are the picture's
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from rich.progress import Progress

from vl.checkpoints.bundle import load
from vl.data.stages import ImageStage
from vl.evaluation.encode_shards import load_tokenizer
from vl.evaluation.painter import Painted, Painter
from vl.evaluation.sampling import Sampling
from vl.report.figures import settings, write_json


def parse(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="checkpoint of a text-to-image model")
    add("--tokenizer", required=True, help="checkpoint of its image tokenizer")
    add("--prompt", required=True, nargs="+")
    add("--language", default="en", help="of the prompts")
    add("--candidates", type=int, default=4)
    add("--rerank", choices=("clip", "self"), help="show candidates in this order")
    add("--clip", help="checkpoint of a CLIP, for --rerank clip")
    add("--captioner", help="checkpoint of a captioning model, for --rerank self")
    add("--temperature", type=float, default=1.0)
    add("--top-k", type=int)
    add("--top-p", type=float)
    add("--guidance", type=float, default=1.0, help="1 for none; for models trained with drop_text")
    add("--complete", help="a picture whose upper part is kept")
    add("--rows", type=int, default=4, help="rows of codes that are kept")
    add("--seed", type=int, default=0)
    add("--out", type=Path, required=True)
    add("--quick", action="store_true", help="2 candidates")
    return parser.parse_args(args)


def paint(options: argparse.Namespace) -> Painted:
    for rerank, needed in (("clip", "clip"), ("self", "captioner")):
        if options.rerank == rerank and not getattr(options, needed):
            raise ValueError(f"--rerank {rerank} needs --{needed}")
    captioner = load(options.captioner).model if options.captioner else None
    tokenizer = load_tokenizer(options.tokenizer).model
    painter = Painter(load(options.model), tokenizer, load(options.clip) if options.clip else None, captioner)
    given = None
    if options.complete:
        pixels = ImageStage(tokenizer.image_size)(Path(options.complete).read_bytes())
        given = tokenizer.encode(pixels[None])[:, : options.rows * tokenizer.codes_per_side]
        given = given.expand(len(options.prompt), -1)
    sampling = Sampling(options.temperature, options.top_k, options.top_p, options.guidance)
    languages = [options.language] * len(options.prompt)
    with Progress() as progress:
        bar = progress.add_task("codes", total=painter.generator.model.sequence.num_image)
        return painter.paint(
            options.prompt, languages, options.candidates, sampling, options.seed, given,
            lambda done, _: progress.update(bar, completed=done),
        )  # fmt: skip


def main(args: list[str] | None = None) -> None:
    options = parse(args)
    if options.quick:
        options.candidates = min(options.candidates, 2)
    try:
        painted = paint(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"generate: {error}") from error
    scores = painted.scores.get(options.rerank)
    order = (
        scores.argsort(1, descending=True)
        if scores is not None
        else torch.arange(options.candidates).repeat(len(options.prompt), 1)
    )
    grid = torch.cat([torch.cat(list(row[rank]), 2) for row, rank in zip(painted.pixels, order, strict=True)], 1)
    options.out.mkdir(parents=True, exist_ok=True)
    Image.fromarray((grid * 255).round().byte().permute(1, 2, 0).numpy()).save(options.out / "grid.png")
    rows = [
        {"prompt": prompt, "order": order[i].tolist(), "codes": painted.codes[i].tolist(),
         "scores": {name: values[i].tolist() for name, values in painted.scores.items()}}
        for i, prompt in enumerate(options.prompt)
    ]  # fmt: skip
    write_json(options.out / "generated.json", {"seed": options.seed, "prompts": rows, "settings": settings()})
    print(f"{options.out}/grid.png: a row a prompt, {options.candidates} candidates; scores in generated.json")


if __name__ == "__main__":
    main()
