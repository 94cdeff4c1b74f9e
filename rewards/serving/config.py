"""What a person may choose about a server that is started for a judge or a preference model."""

from __future__ import annotations

from pydantic import Field

from munro.rewards.config import Config


class JudgeServerConfig(Config):
    """The vLLM server that Munro starts where `model` is a checkpoint and there is no `base_url`.

    It lives as long as the process that asked for it, which all its judges share.
    """

    max_model_len: int = Field(0, ge=0)
    """Tokens of a prompt and its answer together; 0 for as many as the model was made for."""
    max_batch: int = Field(32, ge=1)
    """Requests that it works on at once."""
    gpu_memory: float = Field(0.3, gt=0, le=1)
    """Share of a GPU's memory."""
    cpu_kv_cache_gb: int = Field(1, ge=1)
    """GiB for the key-value cache where there is no GPU."""
    devices: str = ""
    """CUDA_VISIBLE_DEVICES of the server, as in "0,1"; empty leaves it as it is."""
    start_timeout_s: float = Field(600.0, gt=0)
    """Seconds after which a server that does not answer yet is given up."""
    extra_args: tuple[str, ...] = ()
    """More arguments of `vllm serve`, as on its command line."""
