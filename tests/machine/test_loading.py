"""A wrong config is one sentence: what, where, and the way out."""

import tomllib
from pathlib import Path

import pytest

from munro.machine.loading import BadConfig, load, page

RECIPES = [
    path
    for path in sorted(Path("configs").glob("*.toml"))
    if {"num_steps", "env"} <= tomllib.loads(path.read_text()).keys()
]
SMALL = 'num_steps = 3\nenv = "arithmetic"\n'


@pytest.fixture
def recipe(tmp_path):
    def write(text=SMALL):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_loads_and_opens_by_saying_what_to_expect(path):
    load(str(path))
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("num_stpes = 3\n" + SMALL, "unknown key num_stpes. Did you mean num_steps?"),
        (SMALL + "[learner]\nlerning_rate = 1", "Did you mean learner.learning_rate?"),
        (SMALL + "learning_rate = 1", "Did you mean learner.learning_rate?"),
        ('env = "arithmetic"', "num_steps is not set, and has no default"),
        ("num_steps = 3", "env is not set"),
        ("num_steps = 0\nenv = 'arithmetic'", "num_steps = 0: input should be greater"),
        (SMALL + "[rollout]\nnum_early = 64\ngroup_size = 16", "Lower num_early"),
        (SMALL + "[rollout]\npass_rate = [0.9, 0.1]", "0 <= low < high <= 1"),
        (SMALL + "[sync]\nmax_staleness = 0\nevery_steps = 8", "Set checkpoint.every_steps = 48"),
        (
            SMALL + "[sync]\nmax_staleness = 0\nevery_steps = 1\n[rollout]\nworkers = 2",
            "Set workers = 1",
        ),
        (SMALL + "[length]\nstages = [16, 8]", "response caps that grow"),
        (SMALL + "[rollout]\nmax_context = 100", "leaves no room for a prompt"),
        (SMALL + "[rollout", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_key_and_the_way_out(recipe, text, said):
    with pytest.raises(BadConfig) as caught:
        load(recipe(text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(BadConfig, match=r"there is no file .*nowhere\.toml"):
        load(str(tmp_path / "nowhere.toml"))
    with pytest.raises(BadConfig, match="is a folder"):
        load(str(tmp_path))


def test_overrides_by_dotted_name_win_and_are_checked_too(recipe):
    config = load(
        recipe(),
        [("learner.learning_rate", "1e-4"), ("name", "mine"), ("length.stages", "[4, 8]")],
    )
    assert (config.learner.learning_rate, config.name) == (1e-4, "mine")
    assert config.length.stages == (4, 8)
    with pytest.raises(BadConfig, match="Did you mean"):
        load(recipe(), [("learner.learnig_rate", "1")])


@pytest.mark.parametrize("key", ["env", "env.path"])
def test_another_environment_on_the_command_line_drops_the_recipes_arguments(recipe, key):
    text = "num_steps = 3\n[env]\npath = 'arithmetic'\nargs = { digits = 2 }\n"
    config = load(recipe(text), [(key, "./mine.py:Mine")])
    assert [(one.path, one.args) for one in config.env] == [("./mine.py:Mine", {})]


def test_an_environment_named_in_a_word_can_be_given_arguments(recipe):
    config = load(recipe(), [("env.args.digits", "3"), ("env.args.terms", "2")])
    assert [(one.path, one.args) for one in config.env] == [
        ("arithmetic", {"digits": 3, "terms": 2})
    ]


def test_several_environments_carry_weights(recipe):
    text = "num_steps = 3\n[[env]]\npath = 'a'\nweight = 2\n[[env]]\npath = 'b'\n"
    assert [one.weight for one in load(recipe(text)).env] == [2, 1]


def test_the_page_names_every_key_with_its_meaning(recipe):
    shown = page(load(recipe()))
    assert "learning_rate = 1e-06" in shown
    assert "Nucleus mass" in shown
    assert "base:" in shown.splitlines()


def test_the_page_leaves_out_a_base_that_is_not_built_and_is_short(recipe):
    shown = page(load(recipe(), [("model.path", "checkpoint")])).splitlines()
    assert "base:" not in shown
    assert len(shown) < 180
    assert not any("memory_mb = 0 " in line and "isolate" in line for line in shown)


def test_the_page_shows_what_matters_only_with_another_key_where_that_is_set(recipe):
    text = "num_steps = 3\n[[env]]\npath = 'a'\nisolate = true\n"
    assert "With `isolate`: the interpreter" in page(load(recipe(text)))
    assert "With `isolate`" not in page(load(recipe()))
    assert "overlong_tokens" not in page(load(recipe()))
    overlong = load(recipe(), [("rewards.length_form", "overlong")])
    assert "overlong_tokens" in page(overlong)


def test_the_page_shows_graders_and_a_tree_of_rewards():
    shown = page(load("configs/gated.toml"))
    assert "  graders.brief:\n    kind = " in shown
    assert "  reward:\n    kind = " in shown
    assert "\n    then:\n      kind = " in shown
