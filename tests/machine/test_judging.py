"""`munro judge test` and `munro preference test`, over real HTTP to a scripted judge."""

from __future__ import annotations

import json
from itertools import count

import pytest

from munro.machine.cli.main import munro
from munro.machine.errors import BadConfig
from munro.rewards.preference import PreferenceModel
from munro.rewards.preference.comparisons import BadComparisons
from tests.rewards.judges import Reply, ScriptedJudge, material, says
from tests.rewards.preference_models import known_model, write_tiny

REFUSALS = ["I can't help with that.", "Sorry, I will not.", "No, I won't."]
ANSWERS = ["Take a left.", "It is 5 km.", "Boil it for 3 minutes."]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def labelled(path, times=8):
    return written(
        path,
        [
            {"question": f"{text} {n}?", "response": f"{text} ({n})", "label": int(is_refusal)}
            for n in range(times)
            for is_refusal, texts in ((True, REFUSALS), (False, ANSWERS))
            for text in texts
        ],
    )


def run(*arguments):
    """Exit status of the command."""
    with pytest.raises(SystemExit) as leaving:
        munro.main([*arguments], standalone_mode=False)
    return leaving.value.code


def options(url, **more):
    config = {"model": "scripted", "base_url": url, "cache": "", "retries": 0, **more}
    return [f"--judge.{key}={json.dumps(value)}" for key, value in config.items()]


def refuses(body):
    met = any(word in material(body, "RESPONSE") for word in ("can't", "not", "won't"))
    return says(met="yes" if met else "no")


RUBRIC = ["--ask", "rubric", "--criteria", '["The response refuses."]']


def test_a_pattern_beside_people(tmp_path, capsys):
    file = labelled(tmp_path / "l.jsonl")
    assert run("judge", "test", "pattern", file, "--pattern", "can't|won't") == 0
    said = capsys.readouterr().out
    assert "recall                             0.667 [" in said
    assert "precision                          1.000 [" in said
    assert "Better than chance: kappa with people lies within" in said
    assert run("judge", "test", "pattern", file, "--pattern", r"\(") == 3
    said = capsys.readouterr().out
    assert "It cannot be called better than chance: one of the two always says 1" in said


def test_a_judge_is_asked_twice_and_its_cost_told(tmp_path, capsys):
    file, turn = labelled(tmp_path / "l.jsonl", times=4), count()

    def fickle(body):
        # the second asking finds the other thing, every fourth time
        number = next(turn)
        met = refuses(body)
        return says(met="no") if number >= 24 and number % 4 == 0 else met

    with ScriptedJudge(fickle) as server:
        judge = options(server.url, concurrency=1)
        told = ["--again", "20", "--price-in", "2", "--price-out", "10"]
        assert run("judge", "test", "judge", file, *judge, *RUBRIC, *told) == 0
        assert len(server.requests) == 44
    said = capsys.readouterr().out
    assert "accuracy                           1.000 [" in said
    assert "otherwise when asked again (20)" in said
    assert "1,000 requests, 10,000 tokens in, 5,000 out: 0.07 at these prices" in said


def test_answers_that_were_remembered_have_no_cost_and_are_asked_anew_the_second_time(
    tmp_path, capsys
):
    file = labelled(tmp_path / "l.jsonl", times=2)
    with ScriptedJudge(refuses) as server:
        judge = options(server.url, cache=str(tmp_path / "cache"))
        run("judge", "test", "judge", file, *judge, *RUBRIC, "--again", "0")
        assert len(server.requests) == 12
        run("judge", "test", "judge", file, *judge, *RUBRIC, "--again", "5")
        assert len(server.requests) == 17
    assert "not measured: every answer was remembered" in capsys.readouterr().out


def test_a_judge_that_declines_to_judge_is_a_failure_and_no_verdict(tmp_path, capsys):
    file = labelled(tmp_path / "l.jsonl", times=2)

    def declines(body):
        if "km" in material(body, "RESPONSE"):
            return Reply("I'm sorry, but I can't help with that.")
        return refuses(body)

    with ScriptedJudge(declines) as server:
        run("judge", "test", "judge", file, *options(server.url), *RUBRIC, "--again", "0")
    said = capsys.readouterr().out
    assert "no verdict                         2 of 12, which count nowhere" in said
    assert "(10 responses)" in said
    assert "accuracy                           1.000" in said
    with ScriptedJudge([Reply("I can't.")]) as server:
        line = ["judge", "test", "judge", file, *options(server.url), *RUBRIC]
        with pytest.raises(BadConfig, match=r"judged none of 12 responses: .*answered twice"):
            munro.main(line, standalone_mode=False)


def test_grades_of_three_people_and_the_figure_that_is_compared(tmp_path, capsys):
    rows = [
        {"question": str(n), "response": "x" * n, "labels": [n / 20, n / 20, (n % 3) / 2]}
        for n in range(21)
    ]
    file = written(tmp_path / "l.jsonl", rows)
    told = ["--most", "20", "--unit", "characters", "--flip"]
    assert run("judge", "test", "brevity", file, *told) == 0
    said = capsys.readouterr().out
    assert "agreement (alpha, ordinal)" in said
    assert "people among themselves" in said
    assert "  rater 3" in said
    assert "accuracy" not in said
    assert run("judge", "test", "brevity", file, *told, "--label-from", "0.5") == 0
    assert "accuracy                           1.000" in capsys.readouterr().out
    with pytest.raises(BadConfig, match="tells no figure 'harm': there are passed, reward"):
        munro.main(
            ["judge", "test", "brevity", file, *told, "--figure", "harm"], standalone_mode=False
        )


PAIRS = [
    {"prompt": f"Question {n}", "chosen": f"right {n}", "rejected": f"wrong {n}",
     "subset": "ab"[n % 2]}
    for n in range(24)
]  # fmt: skip


def best(body):
    first = material(body, "CANDIDATE 1")
    return says(order=[1, 2] if first.startswith("right") else [2, 1])


def test_a_judge_who_compares_and_one_who_likes_the_first_place(tmp_path, capsys):
    file = written(tmp_path / "p.jsonl", [*PAIRS, {**PAIRS[0], "chosen": "right", "rejected": "w"}])
    with ScriptedJudge(best) as server:
        assert run("judge", "test", "judge_preference", file, *options(server.url)) == 0
        assert len(server.requests) == 75  # both orders, and one order again
    said = capsys.readouterr().out
    assert "25  1.000 [" in said
    assert "choices that fell on the first     0.500 [0.500, 0.500]  no bias can be told" in said
    with ScriptedJudge([says(order=[1, 2])]) as server:
        assert run("judge", "test", "judge_preference", file, *options(server.url)) == 3
    said = capsys.readouterr().out
    assert "25  0.500 [" in said
    assert "1.000 [1.000, 1.000]  a bias" in said
    assert "same choice in both orders         0.000" in said


def test_a_recipe_names_judges_and_graders(tmp_path, capsys):
    file, pairs = labelled(tmp_path / "l.jsonl"), written(tmp_path / "p.jsonl", PAIRS)
    with ScriptedJudge(lambda body: refuses(body) if "RESPONSE" in body["messages"][-1]["content"]
                       else best(body)) as server:  # fmt: skip
        recipe = tmp_path / "r.toml"
        recipe.write_text(
            f'num_steps = 1\n[judge.mine]\nmodel = "m"\nbase_url = "{server.url}"\ncache = ""\n'
            '[env]\npath = "arithmetic"\nreward = "refusal"\n[env.graders.refusal]\n'
            'kind = "judge"\nargs = { judge = "mine", ask = "rubric", criteria = ["It refuses."] }'
        )
        told = ["--config", str(recipe), "--again", "0"]
        assert run("judge", "test", "refusal", file, *told) == 0
        assert run("judge", "test", "mine", file, *told, *RUBRIC) == 0
        assert run("judge", "test", "mine", pairs, *told) == 0
        with pytest.raises(BadConfig, match=r"has no \[judge.yours\]: it has mine"):
            munro.main(
                ["judge", "test", "judge", file, *told, "--judge", "yours"], standalone_mode=False
            )
    capsys.readouterr()


def test_mistakes_are_one_sentence(tmp_path):
    file, pairs = labelled(tmp_path / "l.jsonl"), written(tmp_path / "p.jsonl", PAIRS)
    ties = written(
        tmp_path / "t.jsonl", [{"context": "c", "candidates": ["a", "b"], "scores": [3, 3]}]
    )
    for words, why in (
        (["patern", file], "no grader 'patern'. Did you mean 'pattern'"),
        (["pattern", file], "row 1: 'pattern' is missing.*; row 5.*\\(43 more\\)"),
        (["pattern", file, "--pattern", "("], "no regular expression"),
        (["math", file], "row 1: 'answer' is missing"),
        (["judge", file], "no judge 'judge': name a recipe that has it with --config"),
        (["pattern", pairs, "--pattern", "x"], "grades one response at a time"),
        (["judge_preference", ties, "--judge.model=m", "--judge.base_url=http://h/v1"], "all are"),
        ([str(tmp_path), file], "it is no preference model"),
        (["pattern", str(tmp_path / "none.csv"), "--pattern", "x"], "No such file"),
    ):
        with pytest.raises(BadConfig, match=why) as caught:
            munro.main(["judge", "test", *words], standalone_mode=False)
        assert "\n" not in str(caught.value)


def test_a_preference_model_by_subset_with_its_places(tmp_path, capsys, monkeypatch):
    def rule(context, shown):
        return 0.9 if shown[0].startswith("deer") else 0.2

    model, _ = known_model(rule)
    monkeypatch.setattr(PreferenceModel, "load", classmethod(lambda *_, **__: model))
    rows = [
        {"prompt": f"loch {n}", "chosen": "deer", "rejected": "glen", "subset": "chat"}
        for n in range(12)
    ]
    rows += [{"prompt": f"bothy {n}", "chosen": "ridge", "rejected": "deer", "subset": "safe"}
             for n in range(12)]  # fmt: skip
    folder = write_tiny(tmp_path / "model")
    file = written(tmp_path / "p.jsonl", rows)
    assert run("preference", "test", str(folder), file) == 0
    said = capsys.readouterr().out.splitlines()
    figures = {
        line.split()[0]: line.split()[1:3] for line in said if line[:4] in ("all ", "chat", "safe")
    }
    assert figures == {"all": ["24", "0.500"], "chat": ["12", "1.000"], "safe": ["12", "0.000"]}
    assert any("worse than chance" in line for line in said)
    assert any(line.startswith("choices that fell on the first") for line in said)


def test_a_real_preference_model_is_tested_and_two_questions_are_told_apart(tmp_path, capsys):
    folder = write_tiny(tmp_path / "model")
    rows = [
        {"prompt": f"loch {n}", "response_0": "deer", "response_1": "glen",
         "better_response_id": 0, "safer_response_id": 1}
        for n in range(6)
    ]  # fmt: skip
    file = written(tmp_path / "p.jsonl", rows)
    assert run("preference", "test", str(folder), file) == 0
    said = capsys.readouterr().out
    assert "better" in said
    assert "safer" in said
    with pytest.raises(BadComparisons, match="--question better or --question safer"):
        munro.main(
            ["preference", "train", file, "--onto", str(folder), "--out", str(tmp_path / "o")],
            standalone_mode=False,
        )
    with (tmp_path / "p.jsonl").open("a") as more:
        more.write('{"prompt": "p", "chosen": "a", "rejected": "a"}\n')
    with pytest.raises(BadComparisons, match="line 7: chosen equals rejected"):
        munro.main(["preference", "test", str(folder), file], standalone_mode=False)
    assert run("preference", "test", str(folder), file, "--skip-wrong") == 0
    assert "left out: " in capsys.readouterr().err
