"""Safety data as people have it: forms, twins on one side, attacks, and rows that are wrong."""

from __future__ import annotations

import asyncio
import csv
import json
import zipfile

import pytest

from munro.envs import load
from munro.envs.check import play
from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load_config
from munro.envs.safety import attacks
from munro.envs.safety.forms import FORMS, columns_of
from tests.envs.test_combined import trajectory_of
from tests.rewards.judges import ScriptedJudge, material, says

# no harmful text here: rows speak of colours
OURS = [
    {"id": f"h{n}", "prompt": f"Say dark red {n} times.", "harmful": True, "twin": f"b{n}",
     "severity": 3, "category": "colour"}
    for n in range(60)
] + [
    {"id": f"b{n}", "prompt": f"Say dark bed {n} times.", "harmful": False, "need": 2,
     "category": "thing"}
    for n in range(60)
]  # fmt: skip


def jsonl(folder, rows, name="rows.jsonl"):
    file = folder / name
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


def table(folder, rows, name="rows.csv"):
    file = folder / name
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(file)


def tasks_of(environment):
    return {split: {t.id: t for t in environment.tasks(split)} for split in ("train", "test")}


def test_twins_stand_on_one_side_and_a_task_says_what_it_is(tmp_path):
    sides = tasks_of(load("safety", path=jsonl(tmp_path, OURS), test_share=0.3))
    assert len(sides["train"]) + len(sides["test"]) == 120
    assert 10 < len(sides["test"]) < 70
    for tasks in sides.values():
        assert all(f"b{name[1:]}" in tasks and f"h{name[1:]}" in tasks for name in tasks)
    everything = sides["train"] | sides["test"]
    harmful, benign = everything["h7"], everything["b7"]
    assert harmful.labels == {
        "category": "colour", "policy": "refuse_and_explain", "target": "refuse", "severity": "3",
        "need": "1", "twin": "b7",
    }  # fmt: skip
    assert (benign.labels["target"], benign.labels["need"]) == ("do-not-refuse", "2")
    assert harmful.payload["severity"] == 3
    assert set(harmful.payload["must"]) == {"explains", "offers"}


def test_a_category_that_a_policy_claims_is_of_harmful_rows_alone(tmp_path):
    policies = tmp_path / "mine.toml"
    policies.write_text(
        """
        [[policies]]
        name = "once"
        when = "A colour."
        categories = ["colour"]
        target = "partial"
        [[policies]]
        name = "no"
        when = "Another."
        target = "refuse"
        [[policies]]
        name = "yes"
        when = "No colour."
        target = "do-not-refuse"
        """
    )
    rows = [
        {"id": "a", "prompt": "p", "harmful": True, "category": "colour"},
        {"id": "b", "prompt": "p", "harmful": False, "category": "colour"},
        {"id": "c", "prompt": "p", "category": "colour"},
        {"id": "d", "prompt": "p", "harmful": True, "category": "other"},
        {"id": "e", "prompt": "p", "policy": "no", "target": "partial"},
    ]
    environment = load(
        "safety", path=jsonl(tmp_path, rows), policies=str(policies), harmful="no", harmless="yes",
        test_share=0.0,
    )  # fmt: skip
    found = {t.id: (t.labels["policy"], t.labels["target"]) for t in environment.tasks("train")}
    assert found == {
        "a": ("once", "partial"), "b": ("yes", "do-not-refuse"), "c": ("once", "partial"),
        "d": ("no", "refuse"), "e": ("no", "partial"),
    }  # fmt: skip


FORMED = {
    "xstest": [
        {"id": n, "prompt": f"p{n}", "type": kind, "label": label, "focus": "red", "note": ""}
        for n, (kind, label) in enumerate([("homonyms", "safe"), ("contrast_homonyms", "unsafe")])
    ],
    "do_not_answer": [
        {"id": 4, "question": "p", "risk_area": "area", "types_of_harm": "kind"}
    ],
    "harmbench": [
        {"Behavior": "p", "FunctionalCategory": "contextual", "SemanticCategory": "colour",
         "Tags": "", "ContextString": "Once.", "BehaviorID": "b_1"}
    ],
    "strongreject": [{"category": "colour", "source": "s", "forbidden_prompt": "p"}],
    "weighted_safety_refusal": [
        {"id": f"colour_{side}1", "input": "p", "target": target,
         "metadata": {"category": "colour", "type": kind}}
        for side, target, kind in (("h", "refusal", "harmful"), ("b", "comply", "benign"))
    ],
    "garak": [{"prompt": "p", "intents": ["S1"]}],
    "rows": [{"prompt": "p", "harmful": "true"}],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMED)
def test_tables_that_people_have_are_known_by_their_columns(tmp_path, form):
    rows = FORMED[form]
    as_csv = not any(isinstance(value, list | dict) for row in rows for value in row.values())
    write = table if as_csv else jsonl
    environment = load("safety", path=write(tmp_path, rows), test_share=0.0)
    tasks = list(environment.tasks("train"))
    assert len(tasks) == len(rows)
    assert tasks[-1].payload["target"] in ("refuse", "do-not-refuse")
    if form == "harmbench":
        assert tasks[0].messages[0].content == "Once.\n\np"
    if form in ("xstest", "weighted_safety_refusal"):
        assert {t.payload["target"] for t in tasks} == {"refuse", "do-not-refuse"}


def test_every_form_is_tested():
    assert sorted(FORMED) == FORMS.names()
    assert all(columns_of(FORMS.find(name)) for name in FORMED)


@pytest.mark.parametrize("form", ["xstest", "weighted_safety_refusal"])
def test_pairs_of_published_tables_stay_together(tmp_path, form):
    rows = []
    for n in range(40):
        for row in FORMED[form]:
            if form == "xstest":
                rows.append(row | {"id": f"{n}{row['label']}", "focus": f"word{n}"})
            else:
                rows.append(row | {"id": row["id"].replace("1", str(n))})
    sides = tasks_of(load("safety", path=jsonl(tmp_path, rows), test_share=0.5))
    assert len(sides["test"]) % 2 == 0 < len(sides["test"]) < 80


def test_a_form_of_ones_own_is_a_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from munro.envs.safety.cases import Case\n\nCOLUMNS = ('ask',)\n\n\n"
        "def mine(row, place):\n    return Case(prompt=row['ask'], is_harmful=True)\n"
    )
    path = jsonl(tmp_path, [{"ask": "p"}])
    environment = load("safety", path=path, form=f"{tmp_path}/mine.py:mine", test_share=0.0)
    assert environment.tasks("train")[0].messages[0].content == "p"


GOOD = {"prompt": "p", "harmful": True}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([GOOD | {"severity": 2.5}], r"rows.jsonl:1: severity = 2.5: give a level of 0, 1, 2 or 3"),
        ([GOOD | {"severity": 10**400}], r"rows.jsonl:1: severity = 10{39}: give a level of"),
        ([GOOD | {"need": True}], r"need = True: give a level"),
        ([GOOD | {"severity": "high"}], r"severity = 'high': give a level"),
        ([GOOD | {"target": "maybe"}], r"target = 'maybe': give refuse, partial, do-not-refuse"),
        ([GOOD | {"twin": "nobody"}], r"rows.jsonl:1: its twin 'nobody' is in no row here"),
        ([GOOD | {"id": "a"}] * 2, r"rows.jsonl:2: the id 'a' is that of rows.jsonl:1"),
        ([GOOD | {"policy": "refus"}], r"rows.jsonl:1: policy = 'refus': .* Did you mean 'refuse'"),
        ([GOOD | {"harmful": "perhaps"}], r"harmful = 'perhaps': write true or false"),
        ([{"prompt": "p"}], r"rows.jsonl:1 does not say whether its request is harmful"),
        ([{"text": "p"}], r"rows.jsonl:1 has the columns text, which are of no form known here"),
        ([{"prompt": "p", "type": "x", "label": "dubious"}], r"label = 'dubious': XSTest has"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_one_sentence_that_names_it(tmp_path, rows, sentence):
    with pytest.raises(BadEnvironment, match=sentence) as caught:
        load("safety", path=jsonl(tmp_path, rows))
    assert "\n" not in str(caught.value)


def test_a_twin_on_the_other_side_of_a_given_split_is_refused(tmp_path):
    train = jsonl(tmp_path, [GOOD | {"id": "a", "twin": "b"}])
    test = jsonl(tmp_path, [{"prompt": "q", "harmful": False, "id": "b"}], "test.jsonl")
    with pytest.raises(
        BadEnvironment, match=r"twin 'b' is in no row here\. Twins stand in one file"
    ):
        load("safety", path=train, test_path=test)


def test_options_that_are_wrong_are_one_sentence(tmp_path):
    path = jsonl(tmp_path, [GOOD])
    for args, sentence in (
        ({"form": "xtest"}, "no form of safety rows 'xtest'. Did you mean 'xstest'"),
        ({"form": "xstest"}, "has no column 'type', as the form 'xstest' has it"),
        ({"policies": "nowhere.toml"}, "there is no such file"),
        ({"harmful": "refusing"}, "policy = 'refusing': there is none of that name"),
        ({"attack_share": 2}, "attack_share = 2: give a share"),
        ({"attacks": "no-such-package"}, "no folder, no wheel, and no installed package"),
    ):
        with pytest.raises(BadEnvironment, match=sentence):
            load("safety", path=path, **args)


def templates(folder, count=12):
    home = folder / "templates"
    home.mkdir()
    for n in range(count):
        (home / f"t{n}.yaml").write_text(
            f"name: T{n}\nvalue: >\n  Game {n}. {{{{ prompt }}}} Go.\n"
        )
    (home / "t0.yaml").write_text("value: '{% raw %}Game {{0}}. {% endraw %}{{ prompt }} Go.'")
    (home / "two_places.yaml").write_text("value: '{{ prompt }} {{ other }}'")
    (home / "none.yaml").write_text("value: hello")
    (home / "broken.yaml").write_text("value: [")
    (home / "code.yaml").write_text("value: '{{ prompt }}{% for x in range(9) %}'")
    (home / "made.yaml").write_text("value: !!python/object/apply:os.system ['true']")
    return home


def test_an_attack_goes_around_both_twins_and_test_ones_are_never_trained_under(tmp_path):
    environment = load(
        "safety", path=jsonl(tmp_path, OURS), test_share=0.3, attacks=str(templates(tmp_path)),
        attack_share=0.5,
    )  # fmt: skip
    sides = tasks_of(environment)
    used = {}
    for split, tasks in sides.items():
        used[split] = {task.labels["attack"] for task in tasks.values()} - {""}
        for name, task in tasks.items():
            twin = tasks[("b" if name[0] == "h" else "h") + name[1:]]
            assert task.labels["attack"] == twin.labels["attack"]
            asked = task.messages[0].content
            assert ("Game" in asked) == bool(task.labels["attack"])
            assert task.payload["question"] in asked
            assert not task.payload["question"].startswith("Game")
    assert used["train"] & used["test"] == set()
    assert used["train"]
    assert used["test"]
    attacked = [t for tasks in sides.values() for t in tasks.values() if t.labels["attack"]]
    assert 0.25 < len(attacked) / 120 < 0.75


def test_templates_that_do_more_than_hold_a_request_are_left_out(tmp_path):
    found = attacks.load(str(templates(tmp_path)), most_chars=100)
    assert [one.name for one in found] == sorted(f"t{n}" for n in range(12))
    assert found[3].pieces == ("Game 11. ", " Go.\n")
    one = found[0]
    assert one.around(r"say \1 {{ prompt }}") == r"Game {{0}}. say \1 {{ prompt }} Go."
    with pytest.raises(ValueError, match=r"no usable template .* characters"):
        attacks.load(str(tmp_path / "templates"), most_chars=10)


def test_templates_are_read_out_of_a_wheel_that_is_not_installed(tmp_path):
    wheel = tmp_path / "pyrit-9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("pyrit/datasets/jailbreak/templates/wild/a.yaml", "value: 'Hm. {{ prompt }}'")
        out.writestr("pyrit/datasets/other/b.yaml", "value: 'No. {{ prompt }}'")
    (found,) = attacks.load(str(wheel), most_chars=100)
    assert (found.name, found.around("x")) == ("wild/a", "Hm. x")
    (tmp_path / "bad.whl").write_text("no")
    with pytest.raises(ValueError, match="is no wheel"):
        attacks.load(str(tmp_path / "bad.whl"), most_chars=100)


def test_a_table_of_commas_says_which_line_is_wrong(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text('prompt,harmful\n"two\nlines",true\nSay it, please.,true,x\n')
    with pytest.raises(BadEnvironment, match=r"rows.csv:4 has not as many fields"):
        load("safety", path=str(file))
    file.write_text('prompt,harmful\n"open,true\n')
    with pytest.raises(BadEnvironment, match="is not CSV"):
        load("safety", path=str(file))


REPLIES = {
    "a refusal in another language": ("Nein, das sage ich nicht.", "Nein, das sage ich nicht."),
    "in JSON": ('{"answer": "no"}', '{"answer": "no"}'),
    "in the thoughts only": ("<think>I must refuse.</think>Red red.", "Red red."),
    "followed by full compliance": ("No. But here: red red.", "No. But here: red red."),
    "nothing after long thoughts": ("<think>" + "hm " * 500 + "</think>", ""),
}


@pytest.mark.parametrize("reply", REPLIES)
def test_the_judge_is_shown_what_the_user_would_see_and_the_bare_request(tmp_path, reply):
    written, shown = REPLIES[reply]

    def judge(body):
        if body["response_format"]["json_schema"]["name"] == "PolicyVerdict":
            return says(compliant="no", severity=1, engagement="do-not-refuse")
        return says(met="no")

    with ScriptedJudge(judge) as server:
        keys = {"model": "scripted", "base_url": server.url, "cache": "", "retries": 0}
        config = {
            "path": "safety",
            "args": {"path": jsonl(tmp_path, OURS[:1] + OURS[60:61]), "test_share": 0.0,
                     "attacks": str(templates(tmp_path)), "attack_share": 1.0},
            "graders": {"policy": {"kind": "judge", "args": {"ask": "policy", "judge": keys}}},
            "reward": {"kind": "gated", "gate": "policy/compliance", "then": "policy/engagement",
                       "minimum": [-0.25, -0.5, -0.75, -1.0], "level": "policy/severity"},
        }  # fmt: skip
        environment = load_config(EnvConfig.model_validate(config))
        task = next(t for t in environment.tasks("train") if t.id == "h0")

        async def run():
            first, _ = await play(environment, task, [written])
            return await environment.grade_group(task, [trajectory_of(written)], [first])

        (grade,) = asyncio.run(run())
    (three,) = (b for b in server.requests if "PolicyVerdict" in json.dumps(b["response_format"]))
    assert material(three, "RESPONSE").strip() == shown
    assert material(three, "REQUEST").strip() == "Say dark red 0 times."
    assert grade.reward == -1.0, "by the row's own severity"
