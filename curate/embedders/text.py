"""Sentence models for text rows (all-MiniLM-L6-v2 and its kin): the mean of the last hidden state over the mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curate.embedders import catalogue
from curate.embedders._device import torch_module, transformers_module
from curate.embedders._hub import WEIGHTS, files_of
from curate.embedders._request import Request
from curate.embedders._tokens import tokenizer_file
from curate.embedders._torch import Runner, TorchEmbedder, directions, module_of, text_of
from curate.embedders._weights import State, fill, read_weights, revision_of, weights_in
from curate.errors import ConfigError, EmbedderError
from curate.types import EmbedderSpec, Vectors

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
_TYPES = {"bert": "BertModel", "roberta": "RobertaModel", "mpnet": "MPNetModel"}
_OPTIONAL = ("sentence_bert_config.json", "1_Pooling/config.json")


class SentenceEmbedder(TorchEmbedder):
    """Text rows through a sentence model; counts the texts it had to cut in `truncated`."""

    def __init__(self, spec: EmbedderSpec, runner: Runner, request: Request, *, tokenizer: Any, context: int) -> None:
        super().__init__(spec, runner, request, stack=self._stacked, part="tokens", finish=directions)
        tokenizer.enable_truncation(context)
        self._tokenizer, self.context = tokenizer, context
        self.truncated = 0
        self._notify = request.notify

    def prepare(self, data: bytes) -> str:
        """The text of a row.  Raises MediaError."""
        return text_of(data)

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts: (n, dim) float32."""
        return self.embed(texts)

    def _stacked(self, texts: Sequence[str]) -> Any:
        found = self._tokenizer.encode_batch(list(texts))
        cut = sum(bool(one.overflowing) for one in found)
        if cut:
            self.truncated += cut
            self._notify(f"{cut} of {len(texts)} texts are longer than {self.context} tokens and were cut")
        ids = np.zeros((len(found), 2, max(len(one.ids) for one in found)), dtype=np.int64)
        for n, one in enumerate(found):
            ids[n, 0, : len(one.ids)], ids[n, 1, : len(one.ids)] = one.ids, 1
        return torch_module().from_numpy(ids)


def load(request: Request) -> SentenceEmbedder:
    """The sentence model of a hub name or directory.

    Option: `revision`.  `--preprocess` is about images and changes nothing here.
    Raises EmbedderError for another architecture, ConfigError for another pooling than the mean.
    """
    request.no_options("revision")
    layer = request.layer_of("mean")
    torch_module(), transformers_module()
    folder, commit = _folder(request)
    raw = catalogue.read_json(folder / "config.json")
    kind = raw.get("model_type")
    if kind not in _TYPES:
        raise EmbedderError(f"{folder / 'config.json'} is of type {kind!r}; sentence models are {', '.join(_TYPES)}")
    _check_pooling(folder)
    transformers = transformers_module()
    config = transformers.AutoConfig.for_model(**raw)
    config._attn_implementation = "sdpa"
    weights = weights_in(folder)
    with torch_module().device("meta"):
        empty = getattr(transformers, _TYPES[kind])(config, add_pooling_layer=False)
    model = fill(empty, _encoder(read_weights(weights), kind), origin=weights, ignore=("position_ids", "token_type_ids"))
    revision = commit or revision_of(weights, "config.json", *_OPTIONAL)
    spec = EmbedderSpec(request.name, revision, layer, int(config.hidden_size), "cosine", media="text")
    longest = int(config.max_position_embeddings) - (2 if kind in ("roberta", "mpnet") else 0)
    runner = Runner(module_of(model, text=_mean), request)
    context = min(_context(folder, longest), longest)
    return SentenceEmbedder(spec, runner, request, tokenizer=_tokenizer(folder), context=context)


def _folder(request: Request) -> tuple[Path, str]:
    source = request.source or DEFAULT
    if Path(source).is_dir():
        return Path(source), ""
    revision = str(request.options.get("revision", ""))
    needed = ("config.json", "tokenizer.json")
    folder = files_of(source, needed, choice=WEIGHTS, optional=_OPTIONAL, revision=revision, request=request)
    return folder, folder.name if folder.parent.name == "snapshots" else ""


def _tokenizer(folder: Path) -> Any:
    if (folder / "tokenizer.json").is_file():
        return tokenizer_file(folder / "tokenizer.json")
    if (folder / "vocab.txt").is_file():
        from tokenizers import BertWordPieceTokenizer

        return BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
    raise EmbedderError(f"{folder} has no tokenizer: put its tokenizer.json there")


def _check_pooling(folder: Path) -> None:
    file = folder / "1_Pooling" / "config.json"
    if file.is_file() and not catalogue.read_json(file).get("pooling_mode_mean_tokens", True):
        raise ConfigError(f"{file} asks for another pooling than the mean of the tokens, which is the only one known")


def _context(folder: Path, default: int) -> int:
    file = folder / "sentence_bert_config.json"
    return int(catalogue.read_json(file).get("max_seq_length") or default) if file.is_file() else default


def _encoder(state: State, kind: str) -> State:
    bare = {name.removeprefix(f"{kind}."): value for name, value in state.items()}
    return {name: value for name, value in bare.items() if not name.startswith(("pooler.", "cls.", "lm_head."))}


def _mean(model: Any, rows: Any) -> Any:
    ids, mask = rows[:, 0], rows[:, 1]
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    weight = mask[..., None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1)
