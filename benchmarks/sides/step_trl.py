"""TRL's side of `step_vs_trl.py`; runs in an environment of its own, which holds no munro.

Its settings are the quickest plain ones for a CPU: float32 unless asked otherwise, no gradient
checkpointing, no reference model, one generate call for the whole step, no old-log-prob pass (TRL
needs none when it generates once a step). Its loss is its default, "dapo".
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from step_work import Parent, Work, questions, reward

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
import trl
from datasets import Dataset

MOST_STEPS = 100


class OnDemand(transformers.TrainerCallback):
    """Holds every step back until the parent asks for it, and reports how long it took."""

    def __init__(self, work: Work, parent: Parent) -> None:
        self._work, self._parent = work, parent
        self._start = self._seconds = 0.0

    def on_step_begin(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        """Before generation; the prompts are loaded already."""
        assert not model.is_gradient_checkpointing, "the peer must not compute anything twice"
        self._parent.wait()
        self._start = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """After the optimizer's step."""
        self._seconds = time.perf_counter() - self._start

    def on_log(self, *_: Any, logs: Mapping[str, float], **__: Any) -> None:
        """Every step is logged, after it has ended."""
        if "completions/mean_length" not in logs:
            return
        attempts = self._work.num_prompts * self._work.num_samples
        self._parent.say(
            {
                "seconds": self._seconds,
                "tokens": round(logs["completions/mean_length"] * attempts),
                "reward": logs["reward"],
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
            }
        )


def rewards(completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
    """TRL's form of a reward function."""
    return [reward(completion[0]["content"]) for completion in completions]


def config(work: Work, folder: str, micro_batch: int) -> trl.GRPOConfig:
    """One generation and one optimizer step for `num_prompts * num_samples` completions."""
    return trl.GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=work.dtype == "bfloat16",
        gradient_checkpointing=False,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=work.num_prompts * work.num_samples // micro_batch,
        num_generations=work.num_samples,
        max_completion_length=work.num_tokens,
        generation_kwargs={"min_new_tokens": work.num_tokens},
        temperature=1.0,
        top_p=1.0,
        beta=0.0,
        learning_rate=work.learning_rate,
        lr_scheduler_type="constant",
        max_steps=MOST_STEPS,
        shuffle_dataset=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )


def main() -> None:
    """`step_trl.py WORK MICRO_BATCH`: take steps until the parent hangs up."""
    work, micro_batch = Work.from_json(sys.argv[1]), int(sys.argv[2])
    parent = Parent()
    prompts = [
        [{"role": "user", "content": question}]
        for step in range(MOST_STEPS)
        for question in questions(work, step)
    ]
    model = transformers.AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.GRPOTrainer(
            model=model,
            reward_funcs=rewards,
            args=config(work, folder, micro_batch),
            train_dataset=Dataset.from_dict({"prompt": prompts}),
            processing_class=transformers.AutoTokenizer.from_pretrained(work.model),
            callbacks=[OnDemand(work, parent)],
        )
        versions = {module.__name__: module.__version__ for module in (trl, transformers, torch)}
        parent.say({"versions": versions, "threads": torch.get_num_threads()})
        trainer.train()


if __name__ == "__main__":
    main()
