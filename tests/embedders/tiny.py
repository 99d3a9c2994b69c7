"""Models of a few thousand random numbers, in the form of Hugging Face directories, built on the spot."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

LETTERS = [chr(n) for n in (*range(33, 127), *range(161, 173), *range(174, 256))]


def jittered(model, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + 0.02)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
            elif name.endswith("running_mean"):
                buffer.copy_(torch.randn_like(buffer) * 0.1)
    return model.eval()


def written(model, folder: Path, *, preprocessor=None, pickled=False, **more):
    folder.mkdir(parents=True, exist_ok=True)
    config = {**model.config.to_dict(), **more}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin") if pickled else save_file(state, folder / "model.safetensors")
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return model


def clip_tokenizer(folder: Path):
    """A byte-level vocabulary without merges: 512 letters, start, end."""
    letters = LETTERS + [chr(256 + n) for n in range(256 - len(LETTERS))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def clip(folder: Path, *, seed=0, size=32, tokenizer=True, **options):
    from transformers import CLIPConfig, CLIPModel

    same = {"num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 24}
    config = CLIPConfig(
        vision_config={"hidden_size": 32, "intermediate_size": 64, "image_size": size, "patch_size": 8, **same},
        text_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "vocab_size": 514,
            "max_position_embeddings": 16,
            "eos_token_id": 513,
            "bos_token_id": 512,
            "pad_token_id": 0,
            **same,
        },
        projection_dim=24,
    )
    model = written(jittered(CLIPModel(config), seed), folder, **options)
    if tokenizer:
        clip_tokenizer(folder)
    return model


def resnet(folder: Path, *, head=True, **options):
    from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="bottleneck")
    model = ResNetForImageClassification(config) if head else ResNetModel(config)
    return written(jittered(model), folder, **options)


def sentences(folder: Path):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"a red blue green bus car cat dog on the street".split()]
    made = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
    )
    model = written(jittered(BertModel(config)), folder)
    made.save(str(folder / "tokenizer.json"))
    return model
