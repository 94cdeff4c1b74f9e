"""An adapter's folder, in peft's format, and which base it belongs to.

    adapter_model.safetensors, adapter_config.json      peft loads them as they are
    base.json                                           folder and digest of the base

An adapter on another base is noise, and nothing in peft's format would show it: so the base's
digest is kept, and compared whenever the adapter is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from munro.base_model.adapters.errors import BadAdapter
from munro.base_model.digests import digest_of

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE = "base.json"
FILES = (CONFIG, WEIGHTS)


def is_adapter(folder: Path | str) -> bool:
    """Whether the folder holds an adapter and no whole model."""
    folder = Path(folder)
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def write(folder: Path, model: Any, weights: Mapping[str, Tensor]) -> None:
    """Write the adapter that is on a model.

    Args:
        folder: exists.
        model: adapted.
        weights: full tensors by the names of `attach.weights_of`.
    """
    from safetensors.torch import save_file

    config = next(iter(model.peft_config.values()))
    config.save_pretrained(folder)
    # peft keeps names in a set, which has another order in every process
    told = _json(folder / CONFIG)
    told["target_modules"] = sorted(told["target_modules"])
    _write_json(folder / CONFIG, told)
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    base = Path(config.base_model_name_or_path)
    _write_json(folder / BASE, {"path": str(base), "digest": identity(base)})


def read_weights(folder: Path) -> dict[str, Tensor]:
    """An adapter's tensors by their names in the file.

    Raises:
        BadAdapter: the file is missing or cut short.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        read: dict[str, Tensor] = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise BadAdapter(f"{WEIGHTS} cannot be read ({error})") from error
    return read


def put_on(model: Any, folder: Path) -> None:
    """Put a folder's adapter on the model of its base.

    Raises:
        BadAdapter: it fits another model, or is more than two matrices a layer.
    """
    import peft

    from munro.base_model.adapters.attach import inject, set_weights

    told = _json(folder / CONFIG)
    kind = str(told.get("peft_type"))
    more = [key for key in ("use_dora", "modules_to_save", "lora_bias") if told.get(key)]
    if kind != "LORA" or more or told.get("bias", "none") != "none":
        raise BadAdapter(
            f"it is {' with '.join([kind, *more[:1]])}, of which only plain LoRA is known here: "
            "merge it by peft itself"
        )
    inject(model, peft.LoraConfig.from_pretrained(str(folder)))
    set_weights(model, read_weights(folder))


def base_of(folder: Path | str) -> Path:
    """The folder of the base that an adapter belongs to.

    Raises:
        BadAdapter: it is gone, or holds other weights than those that the adapter was trained on.
    """
    folder = Path(folder)
    told = _told(folder)
    base = Path(told["path"])
    if not (base / "config.json").is_file():
        raise BadAdapter(
            f"its base is not at {base}: put it back there, or merge the adapter with it from "
            f"where it is now: munro merge {folder} OUT --base FOLDER"
        )
    require_base(folder, base)
    return base


def require_base(folder: Path, base: Path) -> None:
    """Refuse another base than the one that an adapter was trained on.

    Raises:
        BadAdapter: the weights in `base` are others.
    """
    digest = _told(folder).get("digest", "")
    if digest and identity(base) != digest:
        raise BadAdapter(
            f"it was trained on another base than what stands at {base} (its weights or its config "
            "differ): an adapter is of use on its own base alone"
        )


def require_scale(folder: Path, config: Any) -> None:
    """Refuse an adapter whose alpha / rank is another than that of a peft config.

    Raises:
        BadAdapter: it is.
    """
    told = _json(folder / CONFIG)
    there, here = (f"{c['lora_alpha']:g} / {c['r']}" for c in (told, config.to_dict()))
    if there != here:
        raise BadAdapter(
            f"it was trained with alpha / rank = {there}, and learner.lora says {here}: an adapter "
            "goes on with its own"
        )


def identity(base: Path) -> str:
    """Digest of a model's config and weights."""
    files = [base / "config.json", *sorted(base.glob("*.safetensors"))]
    told = [[file.name, digest_of(file)] for file in files if file.is_file()]
    return sha256(json.dumps(told).encode()).hexdigest()


def _told(folder: Path) -> dict[str, Any]:
    """Which base it was; what peft itself wrote names a folder and no digest."""
    if (folder / BASE).is_file():
        return _json(folder / BASE)
    return {"path": str(_json(folder / CONFIG).get("base_model_name_or_path") or "")}


def _write_json(file: Path, told: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _json(file: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadAdapter(f"{file.name} cannot be read ({error})") from error
    return read
