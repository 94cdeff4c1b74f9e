"""A model by its name: a folder here, or a model of the Hugging Face hub at one commit.

    locate("ckpt/base")                       the folder, where there is one of that name
    locate("Qwen/Qwen3-0.6B")                 the hub's, as its main branch stands now
    locate("Qwen/Qwen3-0.6B@v1.1")            at a branch, a tag or a commit
    locate("Qwen/Qwen3-0.6B", recorded=...)   the same files as the last time, never newer ones

The hub is asked once, before anything loads; what comes after sees a folder. Only the files are
fetched that transformers and vLLM read, into the hub's own cache, where other tools find them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path

from munro.base_model.checkpoint import Checkpoint, CheckpointError, digest_of

NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)
REVISION = re.compile(r"[\w][\w./+-]*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
RECORDED = re.compile(r"(?P<repo>[^@ ]+)@(?P<commit>[0-9a-f]{40}) sha256:(?P<digest>[0-9a-f]{64})")
LONGEST = 96
"""Characters of a name on the hub."""
WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
READ = (
    "config.json", "generation_config.json", "provenance.json",
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*",
    "vocab*", "merges.txt", "tekken.json", "*.tiktoken", "*.model",
)  # fmt: skip
"""What transformers and vLLM read beside the weights."""
OTHER_WEIGHTS = {
    "pytorch_model*.bin": "PyTorch's pickles",
    "*.gguf": "GGUF",
    "consolidated*": "the maker's own form",
    "adapter_model*": "an adapter, not a whole model",
}


class HubError(CheckpointError):
    """A model cannot be had by its name; says which, why, and the way out, in one sentence."""

    def __str__(self) -> str:
        return f"model {self.path}: {self.cause}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a model lies, and which one of the hub's it is.

    Example:
        Located(folder=Path("/cache/..."), repo="Qwen/Qwen3-0.6B", commit="c1899d...")
    """

    folder: Path
    """Absolute."""
    repo: str = ""
    """Its name on the hub; empty for a folder that a person named."""
    commit: str = ""
    digest: str = ""
    """Of the files, hexadecimal."""
    is_linked: bool = False
    """The folder that a person named is a link to this one, and may point elsewhere tomorrow."""

    @property
    def recorded(self) -> str:
        """What a later run finds the same files by; empty for a folder that a person named."""
        return f"{self.repo}@{self.commit} sha256:{self.digest}" if self.repo else ""


def split(name: str) -> tuple[str, str]:
    """A name and the revision behind its "@", which may be empty.

    Example:
        split("Qwen/Qwen3-0.6B@main")  # ("Qwen/Qwen3-0.6B", "main")
    """
    repo, _, revision = name.partition("@")
    return repo, revision


def is_hub_name(name: str) -> bool:
    """Whether a name could be one of the hub's, and no folder of that name is here."""
    repo, at, revision = name.partition("@")
    if Path(name).expanduser().exists() or len(repo) > LONGEST or ".." in repo or "--" in repo:
        return False
    return bool(NAME.fullmatch(repo) and (not at or REVISION.fullmatch(revision)))


def locate(name: str, *, revision: str = "", recorded: str = "") -> Located:
    """The folder of a model, fetched from the hub first where it is not here.

    A folder of that name wins. Whether the folder holds a whole model is asked by who opens it.

    Args:
        name: a folder, or a hub name with an optional "@revision".
        revision: branch, tag or commit, where the name gives none.
        recorded: `Located.recorded` of the last time. Where it is of the same name, its commit is
            taken whatever the branch says now.

    Raises:
        HubError: the hub has no such model or revision, refuses it, or cannot be reached; or its
            files are not those that were recorded.
    """
    if not is_hub_name(name):
        folder = Path(name).expanduser().absolute()
        if folder.is_symlink():  # as a run's checkpoints/best: what it points to now is meant
            return Located(folder=folder.resolve(), is_linked=True)
        return Located(folder=folder)
    repo, behind = split(name)
    if behind and revision and behind != revision:
        raise HubError(name, f"its name asks for {behind}, and the key revision for {revision}")
    before = RECORDED.fullmatch(recorded)
    if before and before["repo"] == repo:
        located = _fetched(repo, before["commit"])
        if located.digest != before["digest"]:
            raise HubError(
                repo,
                f"the files of commit {located.commit} in {located.folder} are not those that were "
                "used before: something changed them. Remove that folder to have them fetched "
                "again",
            )
        return located
    return _fetched(repo, behind or revision)


def folder_of(name: str) -> Path:
    """The folder of a model by name or path; see `locate`, which says more of it."""
    return locate(name).folder


def _fetched(repo: str, revision: str) -> Located:
    from huggingface_hub import snapshot_download

    here = cached(repo, revision=revision) if COMMIT.fullmatch(revision) else None
    if here is not None:
        return _located(repo, here)
    with told_in_a_sentence(repo, revision):
        wanted, beside = [*WEIGHTS, *READ], ["*/*"]
        place = snapshot_download(
            repo, revision=revision or None, allow_patterns=wanted, ignore_patterns=beside
        )
        lacks = [file for file in Checkpoint(place).missing() if file.endswith(".safetensors")]
        if lacks and lacks != ["model.safetensors"]:  # an index may name its files as it likes
            commit, allow = Path(place).name, [*wanted, *lacks]
            snapshot_download(repo, revision=commit, allow_patterns=allow, ignore_patterns=beside)
    folder = Path(place).absolute()
    if lacks == ["model.safetensors"]:
        raise HubError(repo, _without_safetensors(repo, folder.name))
    return _located(repo, folder)


def _located(repo: str, folder: Path) -> Located:
    return Located(folder=folder, repo=repo, commit=folder.name, digest=digest_of_model(folder))


def identity(folder: Path) -> str:
    """`Located.recorded` of a folder in the hub's cache; empty for any other folder.

    For who was given the folder alone and keeps where weights come from.
    """
    owner_and_name = folder.parent.parent.name.split("--")
    is_cache = folder.parent.name == "snapshots" and owner_and_name[0] == "models"
    if not is_cache or not COMMIT.fullmatch(folder.name):
        return ""
    return _located("/".join(owner_and_name[1:]), folder).recorded


def fetch_into(recorded: str, folder: Path) -> None:
    """Fetch a model of the hub to where it lies in another machine's cache: the very same files.

    Args:
        recorded: `Located.recorded` of it.
        folder: in that cache: CACHE/models--OWNER--NAME/snapshots/COMMIT.

    Raises:
        HubError: it cannot be had, or its files are others.
    """
    from huggingface_hub import snapshot_download

    said = RECORDED.fullmatch(recorded)
    assert said is not None, recorded
    with told_in_a_sentence(said["repo"], said["commit"]):
        snapshot_download(
            said["repo"],
            revision=said["commit"],
            allow_patterns=[*WEIGHTS, *READ],
            ignore_patterns=["*/*"],
            cache_dir=folder.parents[2],
        )
    if digest_of_model(folder) != said["digest"]:
        raise HubError(said["repo"], f"the files fetched to {folder} are others")


def digest_of_model(folder: Path) -> str:
    """Hash of the files that make a model, told by their names; of large files, see `digest_of`."""
    found = sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        if any(fnmatch(file.name, pattern) for pattern in ("*.safetensors", *WEIGHTS, *READ)):
            found.update(f"{file.name}:{digest_of(file)}\n".encode())
    return found.hexdigest()


def glance(name: str, *, revision: str = "") -> str:
    """What is known of a hub's model before it is fetched, in a line for a person.

    Nothing is fetched. Without network it says so: the model may be there all the same.

    Raises:
        HubError: the hub has no such model or revision, or refuses it.
    """
    repo, behind = split(name)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalEntryNotFoundError

    if place := cached(name, revision=revision):
        return f"{name}, in the hub's cache: {place}"
    revision = behind or revision
    try:
        with told_in_a_sentence(repo, revision):
            info = HfApi().model_info(repo, revision=revision or None, files_metadata=True)
    except HubError as error:
        if isinstance(error.__cause__, LocalEntryNotFoundError) or _is_out_of_reach(
            error.__cause__
        ):
            return f"{name}, of the hub: not looked at (no network), to be fetched at the start"
        raise
    size = sum(
        file.size or 0
        for file in info.siblings or []
        if any(fnmatch(file.rfilename, pattern) for pattern in WEIGHTS)
    )
    at = f"commit {str(info.sha)[:12]}"
    return f"{name}, of the hub at {at}: {size / 1e9:.1f} GB of weights, fetched at the start"


def cached(name: str, *, revision: str = "") -> Path | None:
    """The folder of a hub's model that was fetched before, whole; None where it was not.

    The hub is not asked, so that a branch is where it was the last time.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, behind = split(name)
    try:
        place = snapshot_download(
            repo,
            revision=behind or revision or None,
            allow_patterns=[*WEIGHTS, *READ],
            ignore_patterns=["*/*"],
            local_files_only=True,
        )
    except (LocalEntryNotFoundError, ValueError):
        return None
    return Path(place).absolute() if Checkpoint(place).exists else None


@contextmanager
def told_in_a_sentence(repo: str, revision: str = "") -> Iterator[None]:
    """What the hub's client says in many lines and kinds, by what to do about it.

    Raises:
        HubError: in the place of what was raised.
    """
    from huggingface_hub import errors

    what = f"{repo}@{revision}" if revision else repo
    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(
            what,
            f"the hub gives it to those who have accepted its terms: do so at https://huggingface."
            f"co/{repo}, then log in (hf auth login, or the variable HF_TOKEN)",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            repo, f"it has no revision {revision!r}: give a branch, a tag or a commit that it has"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            what,
            "there is no such folder here, and no such model on the hub that you may see: check "
            "the name, or log in if it is private (hf auth login, or the variable HF_TOKEN)",
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise HubError(what, _unreachable(error)) from error
    except errors.HfHubHTTPError as error:
        why = f"the hub refuses it ({_status(error)}): {_first(error)}"
        if _status(error) == "HTTP 401":
            why = "the hub does not know your login (HTTP 401): log in anew (hf auth login), or set"
            why += " the variable HF_TOKEN to a token that holds"
        raise HubError(what, why) from error
    except (OSError, ValueError) as error:
        raise HubError(what, f"cannot be fetched: {_first(error)}") from error
    except Exception as error:
        # the client's transport (requests, httpx) has an exception tree of its own
        if not _is_out_of_reach(error):
            raise
        raise HubError(what, _unreachable(error)) from error


def _unreachable(error: BaseException) -> str:
    from huggingface_hub import constants

    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
    if isinstance(error, FileNotFoundError) and "incomplete" in str(error).lower():
        held = f"{constants.HF_HUB_CACHE} holds only a part of it"
    else:
        held = f"it is not in {constants.HF_HUB_CACHE} either"
    return (
        f"there is no such folder here, {why}, and {held}: give a folder, or fetch it where there "
        "is network (hf download) and set HF_HOME to that cache"
    )


def _is_out_of_reach(error: BaseException | None) -> bool:
    names = [kind.__name__ for kind in type(error).__mro__] if error is not None else []
    known = {"TransportError", "OfflineModeIsEnabled", "ConnectionError", "Timeout"}
    return bool(known.intersection(names))


def _status(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return f"HTTP {response.status_code}" if response is not None else type(error).__name__


def _first(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def described(name: str) -> tuple[Path, list[str]]:
    """A folder with a model's configs and tokenizer, and the names of all files of the model.

    Weights are not fetched.

    Raises:
        HubError: the hub has no such model or revision, refuses it, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    if not is_hub_name(name):
        folder = Path(name).expanduser().absolute()
        return folder, sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    repo, revision = split(name)
    with told_in_a_sentence(repo, revision):
        small = [*READ, WEIGHTS[-1], "adapter_config.json"]
        place = snapshot_download(
            repo, revision=revision or None, allow_patterns=small, ignore_patterns=["*/*"]
        )
    return Path(place), _files(repo, Path(place).name) or [p.name for p in Path(place).iterdir()]


def _files(repo: str, commit: str) -> list[str]:
    """Names of a model's files; none where the hub does not say."""
    from huggingface_hub import HfApi

    try:
        with told_in_a_sentence(repo, commit):
            return list(HfApi().list_repo_files(repo, revision=commit))
    except HubError:
        return []


def _without_safetensors(repo: str, commit: str) -> str:
    return without_safetensors(_files(repo, commit))


def without_safetensors(files: Sequence[str]) -> str:
    """Why a model without model.safetensors will not do, by what it has instead."""
    for pattern, kind in OTHER_WEIGHTS.items():
        if held := [file for file in files if fnmatch(file, pattern)]:
            return (
                f"it has no model.safetensors but {held[0]} ({kind}): load it with transformers "
                "and save it (save_pretrained), or take a model that has safetensors"
            )
    return "it has no model.safetensors: it is no model that transformers and vLLM can load"
