"""What a person may choose about data: sources, stages, and mixtures of what was built."""

from __future__ import annotations

import difflib
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from munro.base_model.config import Config

Format = Literal["auto", "text", "html", "code", "jsonl", "parquet", "changes", "huggingface"]

STAGES = {
    "html": "the main text of HTML pages",
    "lines": "lines that many documents of the source share are removed",
    "code": "junk folders, generated files and over-long files or lines are left out",
    "quality": "Gopher's heuristics",
    "exact": "one of several equal documents is kept",
    "fuzzy": "one of several nearly equal documents is kept",
    "template": "one of several pages made from one template is kept",
    "decontaminate": "documents that hold evaluation text are left out",
}
"""In the order in which they are done."""

USUAL: dict[str, tuple[str, ...]] = {
    "auto": ("html", "lines", "quality", "exact", "fuzzy", "decontaminate"),
    "text": ("lines", "quality", "exact", "fuzzy", "decontaminate"),
    "html": ("html", "lines", "quality", "exact", "fuzzy", "template", "decontaminate"),
    "code": ("code", "exact", "fuzzy", "decontaminate"),
    "jsonl": ("lines", "quality", "exact", "fuzzy", "decontaminate"),
    "parquet": ("lines", "quality", "exact", "fuzzy", "decontaminate"),
    "huggingface": ("lines", "quality", "exact", "fuzzy", "decontaminate"),
    "changes": ("exact", "decontaminate"),
}
"""Stages of a source that names none."""


class SourceConfig(Config):
    """One data set: where it lies and what is done to it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Its shards are written to `out/NAME`."""
    paths: tuple[str, ...] = Field(min_length=1)
    """Files and folders; `{stdlib}` and `{site-packages}` stand for Python's own. For
    `huggingface`: a folder written by `save_to_disk`, or a name that `datasets` loads."""
    format: Format = "auto"
    """`auto` goes by each file's suffix."""
    include: tuple[str, ...] = ()
    """Patterns of file names to read in folders; empty takes what the format usually has."""
    exclude: tuple[str, ...] = ()
    """Patterns of file names or relative paths to leave out."""
    field: str = "text"
    """Of JSONL, Parquet and Hugging Face data sets: where the text is."""
    split: str = "train"
    """Of a Hugging Face data set."""
    stages: tuple[str, ...] | None = None
    """Which stages; none given takes the usual ones of the format. Their order is fixed."""
    layout: Literal["file", "repository"] = "file"
    """For `code`: a document is a file, or all files of a repository in depth-first order (a
    repository is a folder directly below a path)."""
    optional: bool = False
    """Paths that are not there are passed over."""

    @field_validator("stages")
    @classmethod
    def _are_known(cls, stages: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for stage in stages or ():
            if stage not in STAGES:
                near = difflib.get_close_matches(stage, STAGES, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(STAGES)}."
                raise ValueError(f"there is no stage {stage!r}: {hint}")
        return stages

    @property
    def stages_in_order(self) -> tuple[str, ...]:
        """What is done, first to last."""
        chosen = USUAL[self.format] if self.stages is None else self.stages
        return tuple(stage for stage in STAGES if stage in chosen)


class LimitsConfig(Config):
    """What keeps hostile or broken input from taking the machine down."""

    document_mb: float = Field(10, gt=0)
    """Larger documents are left out and counted."""
    extraction_s: float = Field(20, gt=0)
    """Seconds that one page or one change may take before it is left out."""
    worker_gb: float = Field(8, gt=0)
    """Address space of a worker process beyond what it starts with."""
    expansion: float = Field(500, gt=1)
    """A compressed file may become this many times larger; beyond, the build stops and names it."""


class LinesConfig(Config):
    """Line boilerplate by occurrence statistics."""

    min_documents: int = Field(10, ge=2)
    """A line that stands in fewer documents of its source is never boilerplate."""
    min_share: float = Field(0.001, ge=0, le=1)
    """Nor is one that stands in a smaller share of them."""
    max_characters: int = Field(300, ge=1)
    """Longer lines are never boilerplate."""


class CodeConfig(Config):
    """Which files of code are kept (report, section 2.4)."""

    max_characters: int = Field(30_000, ge=1)
    """Longer files are left out."""
    max_line: int = Field(1000, ge=1)
    """So are files with a longer line."""
    max_mean_line: float = Field(100, gt=0)
    """And files whose lines are longer than this on average."""


class QualityConfig(Config):
    """Gopher's heuristics (Rae et al. 2021, appendix A.1.1), with its thresholds."""

    min_words: int = Field(50, ge=0)
    """Words of a document."""
    max_words: int = Field(100_000, ge=1)
    """Words of a document."""
    mean_word: tuple[float, float] = (3, 10)
    """Characters of a word on average."""
    max_symbols: float = Field(0.1, ge=0)
    """Hash signs, and ellipses, for each word."""
    max_bullet_lines: float = Field(0.9, ge=0, le=1)
    """Share of lines that begin with a bullet."""
    max_ellipsis_lines: float = Field(0.3, ge=0, le=1)
    """Share of lines that end with an ellipsis."""
    min_alphabetic: float = Field(0.8, ge=0, le=1)
    """Share of words with a letter in them."""
    min_stop_words: int = Field(2, ge=0)
    """Different ones of: the, be, to, of, and, that, have, with. 0 for text that is not English."""
    repetition: bool = True
    """Also its thresholds on repeated lines, paragraphs and n-grams."""


class FuzzyConfig(Config):
    """MinHash with banding (report, section 2.4.3: at 0.8)."""

    threshold: float = Field(0.8, gt=0, le=1)
    """Estimated Jaccard similarity of word n-grams from which documents are duplicates."""
    ngram: int = Field(5, ge=1)
    """Words of an n-gram."""
    num_hashes: int = Field(256, ge=16)
    """Bins of a signature: more make the estimate sharper."""
    bands: int = Field(32, ge=1)
    """Documents are compared when they agree on a whole band of `num_hashes / bands` values."""

    @model_validator(mode="after")
    def _bands_divide(self) -> Self:
        if self.num_hashes & (self.num_hashes - 1) or self.num_hashes % self.bands:
            raise ValueError(
                f"fuzzy.num_hashes = {self.num_hashes} must be a power of two that fuzzy.bands = "
                f"{self.bands} divides: take 256 and 32."
            )
        return self


class TemplateConfig(Config):
    """Pages made from one template: fuzzy duplicates once only their commonest words are left."""

    most_frequent: int = Field(64, ge=1)
    """Different words of a page that stay in its skeleton (the report gives no number)."""
    min_words: int = Field(32, ge=1)
    """Skeletons shorter than this are never compared."""


class DecontaminationConfig(Config):
    """Evaluation text is kept out (report, section 2.4.3: 20-gram fuzzy match at 80%)."""

    files: tuple[str, ...] = ()
    """Evaluation sets: JSONL, Parquet or text."""
    fields: tuple[str, ...] = ()
    """Of JSONL and Parquet: fields that hold evaluation text; empty takes every text field."""
    ngram: int = Field(20, ge=8)
    """Words of the window that is compared."""
    threshold: float = Field(0.8, gt=0.5, le=1)
    """Share of the window's words that agree, place by place."""
    min_words: int = Field(8, ge=4)
    """Shorter evaluation texts match too much by chance; they are counted and passed over."""


class ChangesConfig(Config):
    """Commits and pull requests: the state before is read, only the change is learned."""

    form: Literal["diff", "search-replace"] = "diff"
    """How a change is written."""
    context_lines: int = Field(3, ge=0)
    """Around a hunk of a diff."""
    near_lines: int = Field(40, ge=0)
    """Lines of the state before that are kept on each side of a hunk."""
    max_characters: int = Field(800_000, ge=1)
    """Longer changes are left out (the report: beyond 256K tokens)."""


class TokenizerConfig(Config):
    """What turns text into ids: a folder, a file, or one that is trained on the sources."""

    path: str = ""
    """A folder or name of transformers', a `tokenizer.json`, or an `o200k_base.tiktoken` file; the
    name `o200k_base` takes it from the package bpe-openai. Empty trains one."""
    vocab_size: int = Field(4096, ge=300)
    """Of the one that is trained."""
    training_mb: float = Field(20, gt=0)
    """Text that it is trained on, taken evenly from all sources."""


class DataConfig(Config):
    """A build: what one TOML file says."""

    out: str
    """Folder of the shards, the tokenizer and the funnel."""
    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """In drop order: a duplicate survives in the first source that has it."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    lines: LinesConfig = LinesConfig()
    code: CodeConfig = CodeConfig()
    quality: QualityConfig = QualityConfig()
    fuzzy: FuzzyConfig = FuzzyConfig()
    template: TemplateConfig = TemplateConfig()
    decontamination: DecontaminationConfig = DecontaminationConfig()
    changes: ChangesConfig = ChangesConfig()
    limits: LimitsConfig = LimitsConfig()
    workers: int = Field(0, ge=0)
    """Processes; 0 takes one for each core. They do not change what is written."""
    part_mb: float = Field(16, gt=0)
    """Input of one unit of work, and so of one shard; decides memory and how fine a resume is."""
    keep_work: bool = True
    """Keep what lies between input and shards, so that a changed recipe redoes little."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1 or name in ("work", "tokenizer"):
                raise ValueError(f"sources: the name {name!r} is taken: give each its own.")
        return self


class MixtureSource(Config):
    """A source's part in a mixture."""

    path: str
    """Folder of shards (`out/NAME` of a build), or a small file or folder of text."""
    name: str = ""
    """By default the last part of the path."""
    weight: float = Field(1.0, gt=0)
    """Share of the tokens, relative to the other weights."""
    max_epochs: float = Field(8.0, gt=0)
    """How often each document may be read (report, section 2.5)."""


class MixtureConfig(Config):
    """What is read, in which shares."""

    sources: tuple[MixtureSource, ...] = ()
    """At least one."""
    seed: int = 0
    """Of the order."""
    text_mb: float = Field(64, gt=0)
    """Text that is tokenised at the start instead of being built into shards."""


class MemorisationConfig(Config):
    """From how much a source is memorised to how often it may be read (report, section 2.6)."""

    memorised_nll: float = Field(0.01, gt=0)
    """Nats below which a token counts as memorised."""
    least_epochs: float = Field(1.0, gt=0)
    """Cap of a source whose whole improvement is memorised; the report gives no mapping."""
    most_epochs: float = Field(8.0, gt=0)
    """Cap of a source of which nothing is."""
