"""`munro push`: a checkpoint and its card to the hub, or into a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from munro.base_model.checkpoint import COMMIT, PROVENANCE, TRAINER_STATE, Checkpoint
from munro.base_model.hub import NAME, HubError
from munro.machine.errors import BadConfig
from munro.machine.run.files import RunError, explained
from munro.machine.run.folder import RunFolder
from munro.machine.verbs import card

CARD = "README.md"
WITHIN_A_RUN = ("checkpoints", "distilled")

Contents = Mapping[str, Path | bytes]
"""Name of a file, to where it lies or to what it holds."""


def run_push(source: str, repo: str, *, to: str, dry_run: bool, private: bool) -> int:
    """Write the card, and send it with the checkpoint's files.

    Args:
        source: a run's folder, whose newest checkpoint is meant, or a checkpoint's.
        repo: "owner/name".
        to: a folder to write everything into, with no network; empty for the hub.
        dry_run: show the card and what would go with it.
        private: make a new repository private.

    Raises:
        BadConfig: `repo` is no name, or `to` is there already.
        RunError: the run has no checkpoint, or there is nothing at `source`.
        CheckpointError: the checkpoint is not whole.
        HubError: the hub refused, or cannot be reached.
    """
    if not NAME.fullmatch(repo) or repo.count("/") != 1:
        raise BadConfig(f"REPO = {repo!r} is no name on the hub: give owner/name.")
    checkpoint, run = found(source)
    contents = contents_of(checkpoint, run, repo)
    if dry_run:
        written = contents[CARD]
        assert isinstance(written, bytes)
        click.echo(written.decode())
        for name, size in sizes(contents).items():
            click.echo(f"{size / 1e6:>10.1f} MB  {name}")
        click.echo(f"nothing was sent; without --dry-run it goes to {to or repo}")
        return 0
    if to:
        write(contents, Path(to).expanduser())
        click.echo(f"wrote {to}")
        return 0
    click.echo(f"{repo}: {upload(contents, repo, private=private)}")
    return 0


def found(source: str) -> tuple[Checkpoint, RunFolder | None]:
    """The checkpoint that a person means, and the run that it is of, where that is there.

    Raises:
        RunError: the run has no checkpoint, or there is nothing at `source`.
        CheckpointError: a weight is missing, broken or not finite.
    """
    folder = Path(source).expanduser().absolute()
    folder = folder.resolve() if folder.is_symlink() else folder  # as checkpoints/best
    if (folder / "run.json").is_file():
        run = RunFolder.existing(folder)
        newest = run.newest_checkpoint()
        if newest is None:
            raise RunError(f"{folder} has no checkpoint yet: there is nothing to push.")
        return Checkpoint(newest[1]).prove(), run
    checkpoint = Checkpoint(folder).prove()
    above = folder.parent.parent
    is_within = folder.parent.name in WITHIN_A_RUN and (above / "run.json").is_file()
    return checkpoint, RunFolder.existing(above) if is_within else None


def contents_of(checkpoint: Checkpoint, run: RunFolder | None, repo: str) -> Contents:
    """Everything that is sent: weights, tokenizer, card, provenance; no state of the optimizer."""
    if checkpoint.is_adapter:
        raise BadConfig(
            f"{checkpoint.path} is an adapter, which says where its base lies here: push the whole "
            f"model that munro merge {checkpoint.path} FOLDER makes of it."
        )
    provenance = checkpoint.provenance()
    if not provenance:
        raise BadConfig(
            f"{checkpoint.path} does not say where it comes from (no {PROVENANCE}), so that there "
            "is nothing to write on a card: hf upload sends a folder as it is."
        )
    files = {path.name: path for path in sorted(checkpoint.path.iterdir()) if path.is_file()}
    for of_the_run in (TRAINER_STATE, COMMIT):
        files.pop(of_the_run, None)
    facts = card.gather(checkpoint.path, provenance, run, repo)
    shown = json.dumps(card.for_strangers(provenance), indent=2, sort_keys=True) + "\n"
    return {**files, CARD: card.render(facts).encode(), PROVENANCE: shown.encode()}


def sizes(contents: Contents) -> dict[str, int]:
    """Bytes of each file."""
    return {
        name: len(held) if isinstance(held, bytes) else held.stat().st_size
        for name, held in contents.items()
    }


def write(contents: Contents, folder: Path) -> None:
    """Put everything into a new folder.

    Raises:
        BadConfig: something is there already.
        RunError: the disk refused.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadConfig(f"--to {folder}: something is there already. Give another folder.")
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, held in contents.items():
            if isinstance(held, bytes):
                (folder / name).write_bytes(held)
            else:
                shutil.copyfile(held, folder / name)


def upload(contents: Contents, repo: str, *, private: bool) -> str:
    """Send everything as one commit; its address.

    Raises:
        HubError: the hub refused, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    operations = [
        CommitOperationAdd(name, held if isinstance(held, bytes) else str(held))
        for name, held in contents.items()
    ]
    with _told(repo):
        api = HfApi(library_name="munro")
        api.create_repo(repo, private=private, exist_ok=True)
        done = api.create_commit(repo, operations, commit_message="Push from a climb")
        return str(done.commit_url)


@contextmanager
def _told(repo: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        why = {
            401: "log in with a token that may write (hf auth login, or the variable HF_TOKEN)",
            403: "you may not write there: check the owner's name, and that your token may write",
        }.get(status, f"the hub refuses it (HTTP {status}): {str(error).splitlines()[0]}")
        raise HubError(repo, why) from error
    except (errors.OfflineModeIsEnabled, errors.LocalTokenNotFoundError) as error:
        raise HubError(repo, str(error).splitlines()[0]) from error
    except Exception as error:
        # the client's transport has an exception tree of its own
        if not any(kind.__name__ == "TransportError" for kind in type(error).__mro__):
            raise
        raise HubError(
            repo, "the hub cannot be reached; --to FOLDER writes all of it here"
        ) from error
