"""What a person may choose about a build of questions: one TOML tree."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from munro.base_model.config import Config
from munro.questions.answers.config import ScoreConfig, ScoringConfig, TierConfig
from munro.rewards.judge.config import JudgeConfig


class SourceConfig(Config):
    """Documents of one kind."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Kept with each question."""
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders, and patterns such as "books/*.pdf"; {samples} stands for the documents that
    come with Munro."""
    format: str = "auto"
    """`auto` goes by each file's suffix; else the name or path of a format."""


class LimitsConfig(Config):
    """What keeps a hostile or broken document from taking the machine down."""

    document_mb: float = Field(256, gt=0)
    """Larger files are left out, and listed."""
    pages: int = Field(20_000, ge=1)
    """So are documents of more pages."""
    page_characters: int = Field(200_000, ge=1000)
    """And pages with more text."""
    document_characters: int = Field(50_000_000, ge=1000)
    """And documents with more text in all."""
    page_s: float = Field(10, gt=0)
    """Seconds that one page may take, and that opening a file may."""
    document_s: float = Field(1800, gt=0)
    """Seconds that all pages of a document may take; what is left then is left out."""
    memory_mb: int = Field(1024, ge=128)
    """Address space of the process that reads documents."""
    unknown: float = Field(0.02, ge=0, le=1)
    """Share of a page's glyphs without a meaning from which the page needs a reader."""


class SeerConfig(Config):
    """A model that is shown pictures, at an OpenAI-compatible address."""

    model: str = Field(min_length=1)
    """Its name at `base_url`."""
    base_url: str = Field(pattern=r"^https?://[^@\s]+$")
    """As in "http://localhost:8000/v1"."""
    api_key_env: str = Field("", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$", max_length=64)
    """Environment variable that holds the key, never the key itself; empty for no key."""
    max_tokens: int = Field(8192, ge=16)
    """Of one page; a page that is cut off there is left out."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """More fields of each request's body."""
    concurrency: int = Field(8, ge=1)
    """Pages under way at once."""
    timeout_s: float = Field(300.0, gt=0)
    """Seconds for one page."""
    retries: int = Field(4, ge=0)
    """Times that a request is sent again."""
    cache: str = "~/.cache/munro/questions"
    """Folder that remembers what was read; empty remembers nothing."""


class ScansConfig(Config):
    """Who reads pages whose text the file does not hold: pictures, and fonts without a map."""

    reader: str = ""
    """`tesseract` (the program), `address` (a model that sees), or the name or path of one; empty
    leaves such pages out, and lists them."""
    dpi: int = Field(200, ge=72, le=600)
    """Dots an inch of the picture that it is shown."""
    language: str = Field("eng", pattern=r"^[A-Za-z0-9_/]+(\+[A-Za-z0-9_/]+)*$")
    """For tesseract, as it names them: "eng+deu"."""
    page_s: float = Field(60.0, gt=0)
    """Seconds that tesseract may take for a page."""
    address: SeerConfig | None = None
    """For `address`."""


class EmbedderConfig(Config):
    """A model that makes a vector of a text, at an OpenAI-compatible address (/embeddings)."""

    model: str = Field(min_length=1)
    """Its name at `base_url`."""
    base_url: str = Field(pattern=r"^https?://[^@\s]+$")
    """As in "http://localhost:8000/v1"."""
    api_key_env: str = Field("", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$", max_length=64)
    """Environment variable that holds the key, never the key itself; empty for no key."""
    batch: int = Field(64, ge=1)
    """Texts of a request."""
    timeout_s: float = Field(120.0, gt=0)
    """Seconds for one request."""
    retries: int = Field(4, ge=0)
    """Times that a request is sent again."""


class ParaphraseConfig(Config):
    """When `models.embedder` takes two questions for one. The report gives no figures; what fits
    is the model's own, so look at what was left out first."""

    duplicates: float = Field(0.95, gt=0, le=1)
    """[I] Cosine from which a question with an earlier one's numbers and answer is left out."""
    evaluation: float = Field(0.95, gt=0, le=1)
    """[I] Cosine from which a question is an evaluation set's."""


class ModelsConfig(Config):
    """Models that are asked; without them rules alone decide, and the rest is listed."""

    reader: JudgeConfig | None = None
    """Marks spans, and says whether an answer is a question's."""
    judge: JudgeConfig | None = None
    """Says blindly which of two answers is right, where tiers put the stored one in doubt."""
    embedder: EmbedderConfig | None = None
    """Finds what is asked in other words; left out, nobody looks for that."""


class PairConfig(Config):
    """When rules alone may say that an answer is a question's."""

    evidence: Literal["needed", "waived"] = "needed"
    """Of a list of answers that stands apart from its exercises: whether something in the answers
    (a value that can be checked, a unit, a letter) must show that it is not shifted against them.
    Waived, numbers alone will do, and a shifted key is not noticed."""
    rounds: int = Field(2, ge=1, le=5)
    """Answers that a reader is shown for a question, one after another, before it is given up."""


class CurateConfig(Config):
    """Which pairs are questions."""

    types: tuple[Literal["open", "choice", "proof", "words"], ...] = ("open",)
    """What is kept: `open` has an answer that rules can check."""
    min_characters: int = Field(15, ge=1)
    """Of a question."""
    max_characters: int = Field(4000, ge=1)
    """Of a question."""
    max_answer: int = Field(400, ge=1)
    """Characters of an answer."""


class ConvertConfig(Config):
    """Choices and proofs into open questions, by the reader: the one place where it writes."""

    times: int = Field(3, ge=0, le=9)
    """Rewritings of each question, of which most must come to one answer; 0 rewrites none. More
    than one needs a reader with a temperature."""


class DuplicatesConfig(Config):
    """One of several nearly equal questions is kept."""

    threshold: float = Field(0.8, gt=0, le=1)
    """Estimated Jaccard similarity of character n-grams."""
    ngram: int = Field(5, ge=2, le=16)
    """Characters of one."""


class ContaminationConfig(Config):
    """Questions of evaluation sets are kept out."""

    files: tuple[str, ...] = ()
    """Evaluation sets: .jsonl, .parquet, or .txt with a question a line; patterns too."""
    fields: tuple[str, ...] = ("question", "problem", "prompt", "input", "text")
    """Where a set's questions are: the first of these that it has."""
    min_words: int = Field(8, ge=1)
    """Shorter questions are compared whole only."""
    overlap: float = Field(0.75, gt=0.5, le=1)
    """Share of the words in common from which two questions are one."""


Topic = Literal[
    "mathematics",
    "physics",
    "chemistry",
    "biology",
    "computer science",
    "electrical engineering",
    "mechanical engineering",
    "mechanics of materials",
    "civil engineering",
    "economics",
    "other",
]
"""As the report names them."""


class TopicsConfig(Config):
    """What each question is about."""

    by: Literal["rules", "reader"] = "rules"
    """Words that say so, or `models.reader`, which is shown every question that is left."""
    keep: tuple[Topic, ...] = ()
    """Topics that are wanted; empty keeps all."""


class QuestionsConfig(Config):
    """A build: what one TOML file says."""

    out: str
    """Folder of the questions and of all that lies before them."""
    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """In drop order: of equal questions the first is kept."""
    limits: LimitsConfig = LimitsConfig()
    scans: ScansConfig = ScansConfig()
    models: ModelsConfig = ModelsConfig()
    pair: PairConfig = PairConfig()
    curate: CurateConfig = CurateConfig()
    convert: ConvertConfig = ConvertConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    contamination: ContaminationConfig = ContaminationConfig()
    paraphrase: ParaphraseConfig = ParaphraseConfig()
    topics: TopicsConfig = TopicsConfig()
    tiers: tuple[TierConfig, ...] = ()
    """Who tries what is left, weakest first, as `munro questions score` does; empty scores
    nothing."""
    scoring: ScoringConfig = ScoringConfig()
    workers: int = Field(0, ge=0)
    """Files that are parsed at once; 0 takes one for each core. Changes nothing that is written."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"sources: the name {twice!r} is taken: give each its own.")
        return self

    @model_validator(mode="after")
    def _rewritings_differ(self) -> Self:
        reader, times = self.models.reader, self.convert.times
        if reader is not None and times > 1 and reader.temperature == 0:
            raise ValueError(
                f"convert.times = {times} with models.reader.temperature = 0 asks for the same "
                f"rewriting {times} times. Raise the temperature, or set convert.times to 0 or 1."
            )
        return self

    @model_validator(mode="after")
    def _is_asked_of_somebody(self) -> Self:
        if self.topics.by == "reader" and self.models.reader is None:
            raise ValueError(
                'topics.by = "reader" needs one: add [models.reader], or let rules say it '
                '(topics.by = "rules").'
            )
        if self.models.judge is not None and not self.tiers:
            raise ValueError(
                "models.judge judges answers that tiers put in doubt, and there are no tiers: add "
                "[[tiers]], or leave it out."
            )
        return self

    @model_validator(mode="after")
    def _can_be_scored(self) -> Self:
        self.score  # noqa: B018 - its own rules hold here too
        return self

    @property
    def score(self) -> ScoreConfig | None:
        """How what is built is scored; None where nobody tries it."""
        if not self.tiers:
            return None
        return ScoreConfig(tiers=self.tiers, judge=self.models.judge, scoring=self.scoring)

    @property
    def converts(self) -> bool:
        """Whether choices and proofs are rewritten."""
        return self.models.reader is not None and self.convert.times > 0
