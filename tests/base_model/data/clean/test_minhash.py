"""Signatures estimate similarity; groups of near duplicates keep their first document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from munro.base_model.data.clean.minhash import band_keys, signatures, similarity, sketch
from munro.base_model.data.clean.neighbours import NOBODY, Compared, survivors
from munro.base_model.data.clean.words import Hashes, ngrams_of, words_of
from munro.base_model.data.pool import Pool
from tests.base_model.data.texts import edited, prose


def jaccard(one: Hashes, other: Hashes) -> float:
    return len(np.intersect1d(one, other)) / len(np.union1d(one, other))


@pytest.mark.parametrize("share", [0.0, 0.005, 0.02, 0.05, 0.3])
def test_the_estimate_is_the_jaccard_similarity_of_ngrams(share: float) -> None:
    originals = [prose(seed, 400) for seed in range(30)]
    texts = originals + [edited(text, 99, share) for text in originals]
    ngrams = ngrams_of(words_of(texts), 5)
    sketches = sketch(signatures(ngrams, 256))
    estimates = similarity(sketches[:30], sketches[30:])
    hashes = ngrams.split()
    exact = np.array([jaccard(hashes[i], hashes[30 + i]) for i in range(30)])
    deviation = np.sqrt(exact * (1 - exact) / 256)
    assert np.all(np.abs(estimates - exact) <= 4.5 * deviation + 1e-9)
    assert abs(np.mean(estimates - exact)) <= 4 * deviation.mean() / np.sqrt(30) + 1e-9


def test_documents_of_few_ngrams_are_told_apart_too() -> None:
    texts = [prose(seed, 12) for seed in range(50)]
    sketches = sketch(signatures(ngrams_of(words_of(texts + texts), 5), 256))
    assert np.all(similarity(sketches[:50], sketches[50:]) == 1)
    assert np.all(similarity(sketches[:49], sketches[1:50]) < 0.3)


def compared(folder: Path, texts: list[str], threshold: float = 0.8) -> list[int]:
    signature = signatures(ngrams_of(words_of(texts), 5), 256)
    np.save(folder / "bands.npy", band_keys(signature, 32))
    np.save(folder / "sketches.npy", sketch(signature))
    np.save(folder / "alive.npy", np.ones(len(texts), np.bool_))
    job = Compared(
        bands=(folder / "bands.npy",),
        numbers=(0,),
        num_documents=len(texts),
        alive=folder / "alive.npy",
        sketches=folder / "sketches.npy",
        threshold=threshold,
    )
    with Pool(1, worker_gb=8) as pool:
        return survivors(job, 32, pool).tolist()


def test_the_first_of_a_group_stays_for_all_of_it(tmp_path: Path) -> None:
    text = prose(0, 500)
    texts = [prose(1), text, edited(text, 1, 0.004), prose(2), edited(text, 2, 0.004), text]
    assert compared(tmp_path, texts) == [NOBODY, NOBODY, 1, NOBODY, 1, 1]


def test_a_chain_of_small_changes_does_not_pull_far_documents_together(tmp_path: Path) -> None:
    chain = [prose(0, 1000)]
    for step in range(12):
        chain.append(edited(chain[-1], step, 0.008))
    hashes = ngrams_of(words_of(chain), 5).split()
    assert jaccard(hashes[0], hashes[-1]) < 0.5
    found = compared(tmp_path, chain)
    assert NOBODY in found[1:]
    assert all(
        jaccard(hashes[stays], hashes[goes]) > 0.7
        for goes, stays in enumerate(found)
        if stays != NOBODY
    )
