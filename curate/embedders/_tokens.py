"""Texts to token ids: CLIP's byte-pair encoding and the sentence models' tokenizers, from files on this machine."""

from __future__ import annotations

import gzip
import html
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.embedders._hub import files_of, own_folder
from curate.embedders._request import Request
from curate.embedders._weights import check_sha256
from curate.errors import EmbedderError, MissingExtra

TokenIds = npt.NDArray[np.int64]

BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
BPE_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
TOKENIZER_REPO = "openai/clip-vit-base-patch32"
_MERGES = 49152 - 256 - 2
_SOT, _EOT = "<|startoftext|>", "<|endoftext|>"
_PIECES = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def cleaned(text: str) -> str:
    """`text` as CLIP reads it: mended encoding (ftfy, where installed), HTML entities resolved, single spaces, lower case."""
    try:
        import ftfy
    except ImportError:
        mended = text
    else:
        mended = ftfy.fix_text(text)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(mended))).strip().lower()


class ClipTokens:
    """CLIP's tokenizer with a context length; counts the texts it had to cut.

    tokenizer: of the package tokenizers.  end: the id of end-of-text, with which a cut text ends too.
    """

    def __init__(self, tokenizer: Any, *, context: int, vocabulary: int) -> None:
        self._tokenizer, self.context = tokenizer, context
        self.start, self.end = tokenizer.token_to_id(_SOT), tokenizer.token_to_id(_EOT)
        if self.start is None or self.end is None:
            raise EmbedderError(f"the tokenizer has no {_SOT} and {_EOT}: it is not CLIP's")
        if tokenizer.get_vocab_size() > vocabulary:
            raise EmbedderError(
                f"the model knows {vocabulary} tokens, its tokenizer {tokenizer.get_vocab_size()}: "
                "put the model's own tokenizer.json beside its weights"
            )
        self.truncated = 0

    def __call__(self, texts: Sequence[str]) -> TokenIds:
        """(n, context) ids: start, the text, end, then zeros; longer texts are cut, and counted in `truncated`."""
        ids = np.zeros((len(texts), self.context), dtype=np.int64)
        for n, text in enumerate(texts):
            inner = [i for i in self._tokenizer.encode(cleaned(text), add_special_tokens=False).ids]
            if len(inner) > self.context - 2:
                self.truncated += 1
                inner = inner[: self.context - 2]
            ids[n, : len(inner) + 2] = [self.start, *inner, self.end]
        return ids


def clip_tokens(folder: Path | None, *, context: int, vocabulary: int, request: Request) -> ClipTokens:
    """The tokenizer of a CLIP model: the files beside its weights, the hub's CLIP tokenizer, or open_clip's BPE table.

    Raises EmbedderError that says which file to put where.
    """
    made = _from_folder(folder) if folder is not None else None
    made = made or _from_installed_open_clip() or _from_hub(request)
    return ClipTokens(made, context=context, vocabulary=vocabulary)


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as err:
        raise MissingExtra("tokenizers", "models", "text") from err
    return tokenizers


def _from_folder(folder: Path) -> Any:
    if (folder / "tokenizer.json").is_file():
        return tokenizer_file(folder / "tokenizer.json")
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        from curate.embedders.catalogue import read_json

        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
        return _byte_pairs(read_json(folder / "vocab.json"), [tuple(x.split()) for x in lines if x and not x.startswith("#")])
    if (folder / BPE_FILE).is_file():
        return from_bpe_table(folder / BPE_FILE)
    return None


def _from_installed_open_clip() -> Any:
    # Found, not imported: importing open_clip would ask for torchvision.
    spec = importlib.util.find_spec("open_clip")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(place) / BPE_FILE).is_file():
            return from_bpe_table(Path(place) / BPE_FILE)
    return None


def _from_hub(request: Request) -> Any:
    from dataclasses import replace

    try:
        folder = files_of(TOKENIZER_REPO, ("tokenizer.json",), request=replace(request, source=TOKENIZER_REPO))
    except EmbedderError as err:
        raise EmbedderError(
            f"text for model {request.name!r} needs CLIP's tokenizer, which is not on this machine. Put tokenizer.json of "
            f"{TOKENIZER_REPO} into {own_folder(TOKENIZER_REPO)}, or pip install --no-deps open_clip_torch"
        ) from err
    return tokenizer_file(folder / "tokenizer.json")


def tokenizer_file(path: Path) -> Any:
    """The tokenizer of a `tokenizer.json`, its own padding and cutting switched off.  Raises EmbedderError."""
    try:
        made = _tokenizers().Tokenizer.from_file(str(path))
    except Exception as err:
        raise EmbedderError(f"{path} is no tokenizer: {err}") from err
    made.no_truncation()
    made.no_padding()
    return made


def from_bpe_table(path: Path, *, sha256: str = BPE_SHA256, merges: int = _MERGES) -> Any:
    """CLIP's tokenizer from its published table of merges.  Raises EmbedderError for a changed file."""
    check_sha256(path, sha256)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : merges + 1]
    pairs = [tuple(line.split()) for line in lines]
    letters = _byte_letters()
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in pairs), _SOT, _EOT]
    return _byte_pairs({word: n for n, word in enumerate(words)}, pairs)


def _byte_letters() -> list[str]:
    """The 256 printable letters that stand for bytes, in the order of GPT-2's table."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return [*map(chr, plain), *(chr(256 + n) for n in range(len(others)))]


def _byte_pairs(vocabulary: dict[str, int], pairs: Sequence[tuple[str, ...]]) -> Any:
    tk = _tokenizers()
    made = tk.Tokenizer(
        tk.models.BPE(
            vocab=vocabulary,
            merges=[(a, b) for a, b in pairs],
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token=_EOT,
        )
    )
    made.normalizer = tk.normalizers.Sequence([tk.normalizers.NFC(), tk.normalizers.Lowercase()])
    made.pre_tokenizer = tk.pre_tokenizers.Sequence(
        [
            tk.pre_tokenizers.Split(tk.Regex(_PIECES), behavior="removed", invert=True),
            tk.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return made
