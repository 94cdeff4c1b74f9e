"""Rungs are trained, scored and compared for real; what is done is not done again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from munro.base_model.data.shards.texts import LadderText, prepare
from munro.base_model.ladder import ShapeError
from munro.base_model.results import read_results
from munro.base_model.scaling.plan import Plan, plans
from munro.base_model.scaling.rungs import RESULT, RungFailed, Setting, train, train_all
from tests.base_model.tiny_ladder import ladder_config, write_texts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> LadderText:
    folder = tmp_path_factory.mktemp("text")
    write_texts(folder / "texts")
    return prepare(ladder_config(str(folder / "texts")).data, folder / "data")


@pytest.fixture
def setting(text, tmp_path) -> Setting:
    return Setting(text=text, folder=tmp_path)


def planned(text: LadderText, **changes) -> tuple[Plan, ...]:
    return plans(ladder_config(**changes), text.vocab_size)


def test_a_rung_is_trained_scored_in_each_category_and_costed(text, setting):
    plan = planned(text)[0]
    run = train(plan, setting)
    assert (run.name, run.rung) == ("baseline", "W8")
    assert set(run.losses) == {"code/one", "general/two"}
    assert all(1 < loss < 7 for loss in run.losses.values())
    # what is left empty in a row is planned for, and then not counted
    assert 0.5 * plan.flops < run.flops <= plan.flops
    assert run.seconds is not None
    assert run.seconds > 0
    assert read_results(setting.place(plan) / RESULT) == (run,)


def test_what_is_done_is_not_done_again_and_a_changed_plan_is(text, setting):
    plan = planned(text)[0]
    first = train(plan, setting)
    assert train_all([plan], setting) == [first]
    other = planned(text, tokens_per_param=0.2)[0]
    assert setting.result(other) is None
    assert setting.place(other) != setting.place(plan)


def test_an_unknown_field_of_the_model_is_a_sentence(text, setting):
    plan = replace(planned(text)[0], model={"dropuot": 0.0})
    with pytest.raises(ShapeError, match="dropuot is no field"):
        train(plan, setting)


@pytest.mark.slow
def test_rungs_side_by_side_come_back_in_order_and_failures_are_told_at_the_end(text, setting):
    some = list(planned(text)[:3])
    some[1] = replace(some[1], model={"dropuot": 0.0})
    two = replace(setting, workers=2)
    seen: list[int] = []
    with pytest.raises(RungFailed, match="doubled at W8: model: dropuot is no field"):
        train_all(some, two, on_progress=lambda all_of: seen.append(sum(p.done for p in all_of)))
    assert seen[-1] == 2 or max(seen) <= 2
    good = [some[0], some[2]]
    assert [run.name for run in train_all(good, two)] == ["baseline", "slow"]


@pytest.mark.slow
def test_a_ladder_goes_from_its_file_to_results_and_page(tmp_path: Path, monkeypatch):
    import tomli_w
    from click.testing import CliRunner

    from munro.machine.cli.main import munro

    write_texts(tmp_path / "texts")
    config = ladder_config(str(tmp_path / "texts"), workers=2).model_dump(
        mode="json", exclude_defaults=True
    )
    file = tmp_path / "ladder.toml"
    file.write_text(tomli_w.dumps(config))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(munro, ["ladder", str(file)])
    assert done.exit_code == 0, done.output
    assert "EG_FLOPs over baseline" in done.output
    runs = read_results(tmp_path / "runs" / "test" / "results.jsonl")
    assert len(runs) == 9
    assert (tmp_path / "runs" / "test" / "report.html").read_text().count("<svg") >= 4
    again = CliRunner().invoke(munro, ["ladder", str(file)])
    assert "9 of 9 trainings are done already" in again.output
    assert read_results(tmp_path / "runs" / "test" / "results.jsonl") == runs
