"""A small tokenizer: byte-level, so that nothing is unknown, and every digit a token of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"

# digits and white space stand alone, so a prompt's tokens never depend on what follows it
PIECES = r"\d| ?[A-Za-z_]+| ?[^\sA-Za-z_\d]|\s"

CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, max_context: int) -> Any:
    """A `PreTrainedTokenizerFast` of at most `vocab_size` tokens, learned from `texts`.

    Nothing is added to a text by itself: no start token, no end token. Its chat template writes
    every message on a line of its own, which is how the quickstart's base model was taught.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=max_context,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
