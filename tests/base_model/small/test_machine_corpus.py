"""What the base of a small machine reads: with care first, carelessly later, always the same."""

from collections import Counter

import pytest

from munro.base_model.model.tokenizer import train_tokenizer
from munro.base_model.small.machine_corpus import Beginning, BeginningsConfig, BeginningsCorpus

SUMS = [Beginning(prompt="2+2?\n", careful="2 and 2 are 4", careless="5")]
WORDS = [Beginning(prompt="Say hi.\n", careful="hi", careless="ho")]
TEXTS = ["a text about nothing much"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["2+2? 2 and 2 are 4", *TEXTS], vocab_size=300, max_context=64)


def corpus(tokenizer, **shares):
    config = BeginningsConfig(**shares)
    return BeginningsCorpus(config, tokenizer, kinds=[SUMS, WORDS], texts=TEXTS, seed=3)


def read(tokenizer, progress, **shares):
    found = corpus(tokenizer, **shares)
    documents = [found.tokens(index, progress) for index in range(400)]
    assert all(ids[-1] == tokenizer.eos_token_id for ids in documents)
    return Counter(tokenizer.decode(ids[:-1]) for ids in documents)


def test_care_goes_when_the_first_part_of_the_training_is_over(tokenizer):
    shares = {"text_share": 0.0, "careful_share_early": 1.0, "careful_share": 0.0}
    assert read(tokenizer, 0.79, **shares).keys() == {"2+2?\n2 and 2 are 4", "Say hi.\nhi"}
    assert read(tokenizer, 0.8, **shares).keys() == {"2+2?\n5", "Say hi.\nho"}


def test_every_kind_of_task_and_the_text_have_their_share(tokenizer):
    seen = read(tokenizer, 0.0, text_share=0.25, careful_share_early=1.0)
    assert seen[TEXTS[0]] == pytest.approx(100, abs=30)
    assert seen["Say hi.\nhi"] == pytest.approx(150, abs=35)


def test_a_document_depends_on_its_index_the_seed_and_the_progress_alone(tokenizer):
    first, second = corpus(tokenizer), corpus(tokenizer)
    forwards = [first.tokens(index, 0.5) for index in range(20)]
    backwards = [second.tokens(index, 0.5) for index in reversed(range(20))]
    assert forwards == backwards[::-1]
