"""Write the codes of pictures into copies of their shards. A killed run is finished by the same command.

python tools/encode_images.py --tokenizer runs/vqvae/checkpoints/last --data 'shards/train-*.tar' --out shards-codes
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from rich.progress import track

from vl.data.shards import expand_shards
from vl.evaluation.encode_shards import encode_in_process, load_tokenizer


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--tokenizer", required=True, help="checkpoint of an image tokenizer: DiscreteVAE, VQVAE or VQGAN")
    add("--data", required=True, nargs="+", help="shards with pictures: braces and globs, quoted")
    add("--out", required=True, help="folder of the copies")
    add("--batch-size", type=int, default=64)
    add("--processes", type=int, default=os.cpu_count())
    add("--drop-pictures", action="store_true", help="leave the pictures out of the copies")
    add("--coarse", action="store_true", help="also the codes of pictures of half the size, for super-resolution")
    add("--quick", action="store_true", help="the first shard alone")
    options = parser.parse_args(args)
    try:
        shards = expand_shards(options.data)[: 1 if options.quick else None]
        mark = load_tokenizer(options.tokenizer).model.fingerprint
        job = (options.out, options.tokenizer, options.batch_size, not options.drop_pictures, options.coarse)
        if options.processes == 1:
            for shard in shards:
                encode_in_process(shard, *job)
        else:
            with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
                running = [pool.submit(encode_in_process, shard, *job) for shard in shards]
                for future in track(as_completed(running), "shards", total=len(shards)):
                    future.result()
    except (ValueError, OSError) as error:
        raise SystemExit(f"encode_images: {error}") from error
    print(f"{options.out}: {len(shards)} shards with codes of the tokenizer {mark}")


if __name__ == "__main__":
    main()
