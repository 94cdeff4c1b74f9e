"""What cannot work is refused before anybody is asked, in one sentence."""

from __future__ import annotations

import tomllib

import pytest
from pydantic import ValidationError

from munro.rewards.judge import Judge, JudgeConfig, rubric

URL = "http://localhost:1/v1"


def test_a_judge_is_a_few_lines_of_toml():
    text = """
        [judge.style]
        model = "my-judge"
        base_url = "http://localhost:1/v1/"
        temperature = 0.7
        samples = 3
        honesty = { not_attempted = -0.1 }
    """
    config = JudgeConfig.model_validate(tomllib.loads(text)["judge"]["style"])
    assert (config.base_url, config.samples, config.honesty.not_attempted) == (URL, 3, -0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "model"),
        ({"modle": "x"}, "modle"),
        ({"base_url": "localhost:8000"}, "give an address such as"),
        ({"base_url": "https://me:pass@host/v1"}, "into api_key_env"),
        ({"base_url": "https://host/v1?key=abc"}, "into api_key_env"),
        ({"samples": 3}, r"samples = 3 with temperature = 0 asks for the same answer 3 times"),
        ({"passes": 2}, r"passes = 2 with temperature = 0"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"honesty": {"confident_incorrect": 2.0}}, "rise somewhere"),
        ({"severity_weights": [0, 1, 2, 3]}, "severity_weights"),
    ],
)
def test_a_mistake_is_named(changes, message):
    with pytest.raises(ValidationError, match=message):
        JudgeConfig.model_validate({"model": "m", "base_url": URL, **changes})


@pytest.mark.parametrize("secret", ["sk-proj-abc123", "two words", "x" * 65])
def test_a_key_in_place_of_its_variable_is_refused_and_not_repeated(secret):
    with pytest.raises(ValidationError) as failure:
        JudgeConfig(model="m", base_url=URL, api_key_env=secret)
    assert secret not in str(failure.value)


def test_a_key_that_is_not_set_is_a_sentence(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ValueError, match=r"'NO_SUCH_KEY'.*is empty. Set it"):
        Judge(JudgeConfig(model="m", base_url=URL, api_key_env="NO_SUCH_KEY"))


def test_a_model_without_an_address_is_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint folder.*Name a folder.*base_url"):
        Judge(JudgeConfig(model=str(tmp_path)))


def test_a_checkpoint_whose_template_does_not_use_what_it_is_told_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}{{ enable_thinking }}")
    told = {"model": str(tmp_path), "template_args": {"thinking": False}}
    with pytest.raises(
        ValueError, match=r"judge\.\w+\.template_args\.thinking: .*enable_thinking\."
    ):
        Judge(JudgeConfig.model_validate(told))
    Judge(JudgeConfig(model=str(tmp_path), template_args={"enable_thinking": False})).close()


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ([], "the rubric is empty"),
        (["Is short.", "  "], "criterion 2 of the rubric is empty"),
        (["Names {contry}."], r"names \{contry\}, which is no field. Did you mean \{country\}"),
        (["Names {xyz}."], "There are: country, year."),
        (["Has { in it."], r"has '\{' at character 5"),
        (["Has {} in it."], r"has '\{\}'"),
        (["Uses {country.__class__}."], "write {name} for a field"),
        (["Uses {country!r}."], "write {name} for a field"),
        ("Is short.", "give a list"),
    ],
)
def test_a_rubric_that_refers_to_nothing_is_refused(criteria, message):
    with pytest.raises(ValueError, match=message):
        rubric.check(criteria, {"country", "year"})


def test_a_rubric_is_filled_with_text_as_it_is():
    filled = rubric.fill(["{a} and {{a}}", "{b}"], {"a": "{b}", "b": 2})
    assert filled == ["{b} and {a}", "2"]
    with pytest.raises(ValueError, match="this field is empty"):
        rubric.fill(["{a}"], {"a": " "})
    rubric.check(["{whatever}"])
