"""Conversations: the completions are lists of messages, the loss is a sequence's."""

import os

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

SETTINGS = {"temperature": 0.9, "top_p": 0.95, "importance_sampling_level": "sequence"}


async def says_it(prompts, completions, word, **kwargs):
    return [
        1.0 if one in reply[0]["content"].lower() else 0.0
        for reply, one in zip(completions, word, strict=True)
    ]


data = load_dataset("json", data_files={"train": "chats.jsonl", "test": "rows.jsonl"})
arguments = GRPOConfig(
    run_name=f"chat-{2 + 1}",
    max_steps=20,
    num_generations=4,
    epsilon=3e-4,
    epsilon_high=4e-4,
    seed=int(os.environ.get("SEED", "1")),
    chat_template_kwargs={"enable_thinking": False},
    eval_strategy="steps",
    eval_steps=10,
    **SETTINGS,
)
GRPOTrainer(
    model="Qwen/Qwen3-1.7B",
    reward_funcs=says_it,
    args=arguments,
    train_dataset=data["train"],
    eval_dataset=data["test"],
).train()
