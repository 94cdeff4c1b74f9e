"""Sums, with a reward function of the script's own and an adapter."""

import re

from datasets import load_dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

MODEL = "Qwen/Qwen3-0.6B"
NUMBER = re.compile(r"-?\d+")


def last_number(text):
    found = NUMBER.findall(text)
    return found[-1] if found else None


def right(completions, answer, **kwargs):
    pairs = zip(completions, answer, strict=True)
    return [float(last_number(text) == wanted) for text, wanted in pairs]


def brief(completions, **kwargs):
    return [-len(text) / 1000 for text in completions]


rows = load_dataset("json", data_files="rows.jsonl", split="train").shuffle(seed=3)

config = GRPOConfig(
    output_dir="outputs/sums",
    max_steps=30,
    learning_rate=2e-6,
    per_device_train_batch_size=8,
    gradient_accumulation_steps=4,
    num_generations=8,
    max_completion_length=4 * 64,
    epsilon_high=0.28,
    top_k=20,
    lr_scheduler_type="constant_with_warmup",
    warmup_steps=3,
    reward_weights=[1.0, 0.1],
    save_steps=10,
    report_to="none",
    logging_steps=1,
)

trainer = GRPOTrainer(
    model=MODEL,
    reward_funcs=[right, brief],
    args=config,
    train_dataset=rows,
    peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
)
trainer.train()
