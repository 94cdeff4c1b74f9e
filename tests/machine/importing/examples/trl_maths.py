"""Mathematics, graded by TRL's own function, off the hub's model, inside of main()."""

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from trl.rewards import accuracy_reward


def main():
    model = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
    tokenizer = AutoTokenizer.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
    rows = Dataset.from_json("rows.jsonl")
    rows = rows.filter(lambda row: len(row["prompt"]) < 1000)
    GRPOTrainer(
        model,
        accuracy_reward,
        GRPOConfig(
            num_train_epochs=2,
            per_device_train_batch_size=16,
            steps_per_generation=4,
            gradient_accumulation_steps=2,
            num_generations=16,
            loss_type="dr_grpo",
            scale_rewards=False,
            beta=0.001,
            use_vllm=True,
            vllm_mode="colocate",
            vllm_gpu_memory_utilization=0.4,
            gradient_checkpointing=True,
            num_iterations=2,
        ),
        rows,
        processing_class=tokenizer,
    ).train()


if __name__ == "__main__":
    main()
