"""Train a tokenizer on the captions (or questions) of shards, or extend a BERT vocabulary by the characters it lacks.

python tools/train_tokenizer.py --data 'shards/train-*.tar' --vocab-size 8000 --out corpus.json
python tools/train_tokenizer.py --data 'shards/train-*.tar' --out corpus.json --content content.json  # for masking
python tools/train_tokenizer.py --data 'shards/train-*.tar' --extend vocab.txt --out vocab.txt
"""

import argparse
import json
import tempfile
from pathlib import Path

from vl.data.rows import lines
from vl.data.tokenizers import CorpusTokenizer, WordPieceTokenizer
from vl.data.vocabulary import captions, content_ids, extend_vocab, questions, train_tokenizer, word_ids


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, nargs="+", help="shards to learn from")
    parser.add_argument("--of", choices=("captions", "questions"), default="captions", help="which of their texts")
    parser.add_argument("--out", required=True, type=Path, help="the tokenizer's JSON, or the extended vocab.txt")
    parser.add_argument("--extend", type=Path, help="a BERT vocab.txt to extend instead of training a tokenizer")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--kind", choices=("wordpiece", "bpe", "unigram"), default="wordpiece")
    parser.add_argument("--merge-chinese", action="store_true", help="tokens of several Chinese characters")
    parser.add_argument("--languages", nargs="+", help="language codes to learn from; all by default")
    parser.add_argument("--cased", action="store_true", help="keep capitals and accents")
    parser.add_argument("--content", type=Path, help="also write the ids of content words, as JSON, to this file")
    parser.add_argument("--content-share", type=float, default=0.012, help="of all tokens, at most (%(default)s)")
    parser.add_argument("--words", nargs="+", default=(), help="words to mask, each with its alternatives: left/right")
    parser.add_argument("--words-out", type=Path, help="writes their ids, as JSON, to this file")
    parser.add_argument("--quick", action="store_true", help="the first 1,000 captions alone")
    options = parser.parse_args(args)
    try:
        learn(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"train_tokenizer: {error}") from error


def learn(args: argparse.Namespace) -> None:
    """Writes what the options ask for, and prints what it came to."""
    if args.extend:
        lines(args.extend)  # names the file that is no text
    read = captions if args.of == "captions" else questions
    texts = list(read(args.data, tuple(args.languages) if args.languages else None))
    texts = texts[:1000] if args.quick else texts
    if args.extend:
        content = "\n".join(extend_vocab(args.extend, texts, lowercase=not args.cased)) + "\n"
    else:
        core = train_tokenizer(texts, args.vocab_size, args.kind, not args.cased, not args.merge_chinese)
        content = core.to_str()
    write(args.out, content)
    tokenizer = WordPieceTokenizer(str(args.out), not args.cased) if args.extend else CorpusTokenizer(str(args.out))
    if args.content:
        write(args.content, json.dumps(content_ids(texts, tokenizer, args.content_share)))
    if args.words_out:
        write(args.words_out, json.dumps(word_ids(tokenizer, [words.split("/") for words in args.words])))
    lengths = tokenizer.lengths(texts)
    print(
        f"{args.out}: {tokenizer.vocab_size:,} entries; {len(texts):,} {args.of} of {lengths.mean():.1f} tokens "
        f"(longest {lengths.max()}), {tokenizer.unknown_rate(texts):.2%} unknown"
    )


def write(path: Path, content: str) -> None:
    """A file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


if __name__ == "__main__":
    main()
