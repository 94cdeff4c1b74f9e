"""What learns: the trainer core, checkpoints, and the small base model of the quickstart.

    ModelShape.rung(12)                 base_model.ladder: every size from the number of layers
    MunroForCausalLM(config)            base_model.model: the model, as transformers loads it
    Checkpoint(folder)                  base_model.checkpoint: weights, tokenizer, trainer state
    pretrain(...)                       base_model.pretrain: the trainer, one phase
    train(recipe, folder)               base_model.phases: every phase of a recipe, on any ranks
    evaluate(model, held_out)           base_model.evaluation: NLL of held-out text
    build_base(config, ...)             base_model.quickstart: the embedded default's base

Only the configuration is handed on here, so that it loads without torch.
"""

from base_model.config import (
    BaseConfig,
    CorpusConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    ScheduleConfig,
)

__all__ = [
    "BaseConfig",
    "CorpusConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "ScheduleConfig",
]
