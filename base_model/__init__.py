"""What learns: the trainer core, checkpoints, and the small base model of the quickstart.

    ModelShape.rung(12)                 munro.base_model.ladder: sizes from a number of layers
    MunroForCausalLM(config)            munro.base_model.model: the model, as transformers loads it
    Checkpoint(folder)                  munro.base_model.checkpoint: weights, tokenizer, state
    pretrain(...)                       munro.base_model.training.pretrain: the trainer, one phase
    train(recipe, folder)               munro.base_model.training.phases: every phase of a recipe
    evaluate(model, held_out)           munro.base_model.training.evaluation: NLL of held-out text
    build_base(config, ...)             munro.base_model.small.quickstart: the default's base

Only the configuration is handed on here, so that it loads without torch.
"""

if __name__ != "munro.base_model":  # an older import, or a folder that only happens to be found
    raise ImportError(f"Munro's {__name__!r} is imported as munro.{__name__}", name=__name__)

from munro.base_model.config import (
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
