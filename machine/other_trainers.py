"""What other trainers call what is set here, so that their names are answered with ours.

A name is looked up by its last words: "rollout.n" answers actor_rollout_ref.rollout.n too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Counterpart:
    """Something that others set as well.

    Example:
        Counterpart("set rollout.group_size", {"TRL": "num_generations", "verl": "rollout.n"})
    """

    answer: str
    """What to do here instead, as the end of a sentence."""
    theirs: Mapping[str, str]
    """Names by trainer, several with spaces between."""


def answer(unknown: str, value: Any) -> str | None:
    """What to say of an unknown key, or None where nobody that we know of calls anything so.

    Args:
        unknown: dotted.
        value: what it was set to; of a table, the first key in it that is known answers.
    """
    for key in _leaves(unknown, value):
        if (found := _found(key)) is not None:
            return f"unknown key {key}, a name of {found[0]}'s: {found[1].answer}"
    return None


def counterpart(theirs: str) -> str | None:
    """What to do here instead of a key of theirs, dotted; None where that is not known."""
    found = _found(theirs)
    return None if found is None else found[1].answer


def _found(key: str) -> tuple[str, Counterpart] | None:
    words = key.split(".")
    ways = (_KNOWN.get(".".join(words[start:])) for start in range(len(words)))
    return next((found for found in ways if found is not None), None)


def _leaves(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield key
        return
    for name, inner in value.items():
        yield from _leaves(f"{key}.{name}", inner)


_NO_CRITIC = "there is no critic here; an attempt is compared with the others of its group"
_GPUS = "Ray gives servers and learner what there is; set rollout.servers and learner.ranks"
_TASKS = "tasks come from an environment, env.path and env.args"
_BATCH = "set batch.num_groups, groups of rollout.group_size attempts to a step"
_TRACK = "a run's name is name, and its trackers are listed in tracking"

COUNTERPARTS = (
    Counterpart(
        "set rollout.group_size",
        {
            "TRL": "num_generations",
            "verl": "rollout.n",
            "prime-rl": "rollouts_per_example rollouts_per_prompt orchestrator.group_size",
            "OpenRLHF": "n_samples_per_prompt",
        },
    ),
    Counterpart(
        "set length.stages, one cap or several that grow",
        {
            "TRL": "max_completion_length max_new_tokens",
            "verl": "max_response_length response_length",
            "prime-rl": "max_completion_tokens sampling.max_tokens",
            "OpenRLHF": "generate_max_len",
        },
    ),
    Counterpart(
        "set rollout.max_context, prompt and response together",
        {
            "TRL": "max_prompt_length vllm_max_model_length",
            "verl": "max_prompt_length prompt_length max_model_len",
            "prime-rl": "seq_len",
            "OpenRLHF": "prompt_max_len max_len",
        },
    ),
    Counterpart(
        "set learner.kl_weight, the weight of the distance (k3) to the model that the climb begins "
        "from; without it clip.eps and clip.outer bound each update",
        {
            "TRL": "beta",
            "verl": "kl_coef kl_loss_coef use_kl_loss use_kl_in_reward kl_penalty kl_ctrl.type",
            "prime-rl": "kl_tau",
            "OpenRLHF": "init_kl_coef use_kl_estimator_k3",
        },
    ),
    Counterpart(
        "the weight of the distance to the reference is constant, learner.kl_weight, its estimate "
        "is k3, and the reference never moves",
        {
            "TRL": "ref_model_sync_steps ref_model_mixup_alpha sync_ref_model",
            "verl": "kl_loss_type target_kl",
            "OpenRLHF": "kl_target kl_horizon kl_estimator",
        },
    ),
    Counterpart(
        "there is no entropy bonus; clip.entropy_target moves the clip until the entropy is there",
        {
            "verl": "entropy_coeff",
            "OpenRLHF": "entropy_loss_coef",
        },
    ),
    Counterpart(
        "set clip.eps, the ratio's bounds being 1 - eps and 1 / (1 - eps) + k",
        {
            "TRL": "epsilon",
            "verl": "clip_ratio clip_ratio_low",
            "prime-rl": "token_mask_low",
            "OpenRLHF": "eps_clip eps_clip_low_high cliprange",
        },
    ),
    Counterpart(
        "set clip.eps_high for an upper bound of 1 + eps_high; by default it follows clip.eps, and "
        "either widens by itself up to clip.widening_max, wherever clip.entropy_target asks for it",
        {
            "TRL": "epsilon_high",
            "verl": "clip_ratio_high",
            "prime-rl": "token_mask_high",
            "slime": "eps_clip_high",
        },
    ),
    Counterpart(
        "set clip.outer, which bounds the ratio in every branch",
        {
            "TRL": "delta vllm_importance_sampling_cap",
            "verl": "clip_ratio_c tis_imp_ratio_cap",
            "OpenRLHF": "dual_clip vllm_is_truncated_threshold",
        },
    ),
    Counterpart(
        _BATCH,
        {
            "TRL": "generation_batch_size",
            "verl": "train_batch_size ppo_mini_batch_size",
            "prime-rl": "batch_size",
            "OpenRLHF": "rollout_batch_size",
            "slime": "global_batch_size",
        },
    ),
    Counterpart(
        "micro-batches are made by size, learner.token_budget tokens each; a step's batch is "
        "batch.num_groups groups",
        {
            "TRL": "per_device_train_batch_size gradient_accumulation_steps",
            "verl": "ppo_micro_batch_size ppo_micro_batch_size_per_gpu ppo_max_token_len_per_gpu "
            "log_prob_micro_batch_size log_prob_micro_batch_size_per_gpu use_dynamic_bsz",
            "prime-rl": "micro_batch_size",
            "OpenRLHF": "micro_train_batch_size micro_rollout_batch_size train_max_tokens_per_gpu",
        },
    ),
    Counterpart(
        "a batch is trained on once; set sync.every_steps for several steps to a weight update",
        {
            "TRL": "num_iterations steps_per_generation",
            "verl": "ppo_epochs",
            "OpenRLHF": "max_epochs",
        },
    ),
    Counterpart(
        "set num_steps, optimizer steps in all",
        {
            "TRL": "max_steps num_train_epochs",
            "verl": "total_training_steps total_epochs",
            "OpenRLHF": "num_episodes",
            "slime": "num_rollout",
        },
    ),
    Counterpart(
        "set sync.max_staleness, in weight updates",
        {
            "prime-rl": "max_async_level async_level max_off_policy_steps",
            "OpenRLHF": "async_queue_size async_train",
            "verl": "staleness_threshold",
        },
    ),
    Counterpart(
        "set learner.learning_rate",
        {"verl": "optim.lr actor.optim.lr lr", "OpenRLHF": "actor_learning_rate"},
    ),
    Counterpart(
        "set learner.schedule.shape to constant, linear or cosine, with "
        "learner.schedule.warmup_steps and learner.schedule.final",
        {
            "TRL": "lr_scheduler_type warmup_ratio warmup_steps",
            "verl": "lr_warmup_steps lr_warmup_steps_ratio warmup_style min_lr_ratio "
            "lr_scheduler_type",
            "prime-rl": "scheduler.type scheduler.warmup_steps scheduler.decay_steps "
            "scheduler.min_lr",
            "OpenRLHF": "lr_scheduler lr_warmup_ratio min_lr",
        },
    ),
    Counterpart(
        "set learner.max_grad_norm",
        {"verl": "grad_clip", "prime-rl": "optim.max_norm", "OpenRLHF": "max_norm"},
    ),
    Counterpart(
        "set learner.betas, [0.95, 0.95] say",
        {"TRL": "adam_beta1 adam_beta2", "OpenRLHF": "adam_betas"},
    ),
    Counterpart("set learner.eps", {"TRL": "adam_epsilon"}),
    Counterpart("set learner.weight_decay", {"OpenRLHF": "l2"}),
    Counterpart(
        "set learner.activation_checkpointing",
        {
            "TRL": "gradient_checkpointing",
            "verl": "enable_gradient_checkpointing",
            "prime-rl": "model.ac",
        },
    ),
    Counterpart(
        "set learner.precision and, for the engine, rollout.dtype; auto is bfloat16 on GPUs",
        {"TRL": "bf16 fp16", "verl": "mixed_precision"},
    ),
    Counterpart(
        "more than one of learner.ranks shards the model by itself",
        {"TRL": "fsdp fsdp_config deepspeed", "OpenRLHF": "zero_stage"},
    ),
    Counterpart(
        "set learner.offload", {"OpenRLHF": "adam_offload", "verl": "fsdp_config.optimizer_offload"}
    ),
    Counterpart(
        "set learner.optimizer to adamw, adamw8bit or muon",
        {"TRL": "optim", "prime-rl": "optim.type"},
    ),
    Counterpart(
        "set ray.colocate for one server and one learner on one GPU",
        {"TRL": "vllm_mode vllm_enable_sleep_mode", "OpenRLHF": "colocate_all_models"},
    ),
    Counterpart(
        "set rollout.engine to vllm or transformers",
        {"TRL": "use_vllm", "verl": "rollout.name rollout.mode"},
    ),
    Counterpart(
        "set rollout.servers", {"OpenRLHF": "vllm_num_engines", "slime": "rollout_num_engines"}
    ),
    Counterpart(
        "set rollout.tensor_parallel",
        {
            "TRL": "vllm_tensor_parallel_size",
            "verl": "tensor_model_parallel_size",
            "prime-rl": "parallel.tp tensor_parallel_size",
        },
    ),
    Counterpart(
        "set rollout.gpu_memory",
        {"TRL": "vllm_gpu_memory_utilization", "verl": "gpu_memory_utilization"},
    ),
    Counterpart("set rollout.max_batch", {"verl": "max_num_seqs"}),
    Counterpart("set rollout.max_turns", {"verl": "multi_turn.max_turns max_assistant_turns"}),
    Counterpart(
        "sampling is cut by rollout.top_p alone, whose nucleus the learner replays",
        {"TRL": "top_k min_p repetition_penalty", "verl": "rollout.top_k"},
    ),
    Counterpart(
        "set rollout.temperature",
        {"slime": "rollout_temperature", "prime-rl": "sampling.temperature"},
    ),
    Counterpart("set rollout.top_p", {"slime": "rollout_top_p", "prime-rl": "sampling.top_p"}),
    Counterpart(
        "set rollout.early_pass_rate and rollout.pass_rate, which tasks must lie in",
        {
            "verl": "filter_groups filter_groups.enable filter_groups.metric",
            "prime-rl": "online_difficulty_filtering easy_threshold hard_threshold",
            "OpenRLHF": "dynamic_filtering dynamic_filtering_reward_range",
        },
    ),
    Counterpart(
        "set learner.loss to policy (the report's), cispo, dapo, dr_grpo, gspo or the path of one "
        "of yours",
        {
            "TRL": "loss_type importance_sampling_level",
            "verl": "loss_agg_mode policy_loss.loss_mode",
            "prime-rl": "ratio_type loss.type loss.import_path",
            "OpenRLHF": "policy_loss_type",
            "another trainer": "loss.kind loss.path",
        },
    ),
    Counterpart(
        "set learner.advantage to group_relative (in standard deviations), dr_grpo (as it is), "
        "rloo or one of yours",
        {
            "another trainer": "advantage.scale",
            "TRL": "scale_rewards",
            "verl": "adv_estimator norm_adv_by_std_in_grpo",
            "OpenRLHF": "advantage_estimator no_advantage_std_norm normalize_reward",
        },
    ),
    Counterpart(
        _NO_CRITIC,
        {
            "verl": "critic_warmup cliprange_value lam gamma",
            "OpenRLHF": "critic_pretrain critic_learning_rate value_clip lambd",
        },
    ),
    Counterpart(
        "set rewards.length_form to overlong with rewards.overlong_tokens and "
        "rewards.length_weight, or rewards.truncation_weight",
        {
            "TRL": "mask_truncated_completions",
            "verl": "overlong_buffer overlong_buffer.len overlong_buffer.penalty_factor",
            "OpenRLHF": "overlong_buffer_len overlong_penalty_factor",
        },
    ),
    Counterpart(
        "rewards belong to the environment: name graders in [env.graders] (functions of TRL's and "
        'verl\'s by kind = "trl" and "verl"), and how they are paid in env.reward',
        {
            "TRL": "reward_weights reward_funcs",
            "verl": "custom_reward_function reward_manager custom_reward_function.path",
            "OpenRLHF": "remote_rm_url reward_pretrain",
        },
    ),
    Counterpart(
        "set model.path, a folder or the model's name on the hub",
        {
            "TRL": "model_name_or_path",
            "verl": "actor_rollout_ref.model.path",
            "prime-rl": "model.name",
            "OpenRLHF": "pretrain",
            "slime": "hf_checkpoint",
        },
    ),
    Counterpart(
        _TASKS,
        {
            "TRL": "dataset_name train_dataset dataset",
            "verl": "train_files val_files prompt_key",
            "prime-rl": "env.id environment.id",
            "OpenRLHF": "prompt_data eval_dataset input_key label_key agent_func_path",
        },
    ),
    Counterpart(
        "set rollout.template", {"TRL": "chat_template", "OpenRLHF": "apply_chat_template"}
    ),
    Counterpart(
        "set rollout.template_args",
        {"TRL": "chat_template_kwargs", "verl": "apply_chat_template_kwargs"},
    ),
    Counterpart(
        "set checkpoint.every_steps",
        {"TRL": "save_steps", "verl": "save_freq", "prime-rl": "ckpt.interval"},
    ),
    Counterpart(
        "set checkpoint.keep",
        {
            "TRL": "save_total_limit",
            "verl": "max_actor_ckpt_to_keep",
            "prime-rl": "ckpt.keep ckpt.keep_last",
            "OpenRLHF": "max_ckpt_num",
        },
    ),
    Counterpart(
        "set eval.every_steps",
        {"TRL": "eval_steps eval_strategy", "verl": "test_freq", "prime-rl": "eval.interval"},
    ),
    Counterpart("set eval.num_tasks", {"prime-rl": "eval.num_examples num_examples"}),
    Counterpart(
        "set eval.runs",
        {"TRL": "num_generations_eval", "OpenRLHF": "eval_n_samples_per_prompt"},
    ),
    Counterpart(
        "a run lies in folder/name",
        {
            "TRL": "output_dir",
            "verl": "default_local_dir",
            "OpenRLHF": "save_path ckpt_path",
        },
    ),
    Counterpart(
        "the same command resumes by itself",
        {
            "TRL": "resume_from_checkpoint",
            "verl": "resume_mode resume_from_path",
            "prime-rl": "ckpt.resume_step resume_step",
            "OpenRLHF": "load_checkpoint",
        },
    ),
    Counterpart(
        _TRACK,
        {
            "TRL": "run_name report_to",
            "verl": "project_name experiment_name trainer.logger",
            "prime-rl": "wandb.project wandb.name",
            "OpenRLHF": "use_wandb wandb_project wandb_run_name use_tensorboard",
        },
    ),
    Counterpart("every step is logged, in metrics.jsonl", {"TRL": "logging_steps"}),
    Counterpart(
        _GPUS,
        {
            "verl": "n_gpus_per_node nnodes",
            "prime-rl": "num_train_gpus num_infer_gpus",
            "OpenRLHF": "actor_num_nodes actor_num_gpus_per_node",
            "slime": "rollout_num_gpus",
        },
    ),
    Counterpart(
        "set [learner.lora], rank, alpha and modules",
        {
            "TRL": "use_peft lora_r peft_config",
            "verl": "lora_rank",
            "OpenRLHF": "lora_alpha target_modules",
        },
    ),
)

_KNOWN: dict[str, tuple[str, Counterpart]] = {}
for _counterpart in COUNTERPARTS:
    for _trainer, _names in _counterpart.theirs.items():
        for _name in _names.split():
            _KNOWN.setdefault(_name, (_trainer, _counterpart))
