"""`munro import`: three configurations of each trainer become recipes whose dry runs pass."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from munro.machine.climb.dry_run import plan
from munro.machine.errors import BadConfig
from munro.machine.importing.write import run_import
from munro.machine.loading import load

EXAMPLES = Path(__file__).parent / "examples"
MODEL = [("model.path", "Qwen/Qwen3-0.6B")]
"""What verl_own_score.yaml takes from an environment variable."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with every example in it, and verl's rows."""
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    for name, numbers in (("train", (1, 2)), ("test", (3, 4))):
        rows = [
            {
                "data_source": "openai/gsm8k",
                "prompt": [{"role": "user", "content": f"What is {number} + 4?"}],
                "reward_model": {"style": "rule", "ground_truth": str(number + 4)},
                "extra_info": {"index": number},
            }
            for number in numbers
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def imported(name: str, overrides: Any = ()) -> tuple[dict[str, Any], str]:
    said = run_import(name, "mine.toml", overrides)
    return tomllib.loads(Path("mine.toml").read_text()), said


@pytest.mark.parametrize(
    "name",
    [
        one.name
        for one in sorted(EXAMPLES.iterdir())
        if one.name.startswith(("trl", "verl", "prime"))
    ],
)
def test_a_dry_run_of_what_was_imported_passes(here: Path, name: str) -> None:
    _, said = imported(name, MODEL if name == "verl_own_score.yaml" else ())
    assert said.endswith("  munro climb mine.toml --dry-run")
    assert "a new one" in plan(load("mine.toml"))


def test_a_script_of_trl(here: Path) -> None:
    raw, said = imported("trl_sums.py")
    assert raw["name"] == "sums"
    assert raw["num_steps"] == 30
    assert raw["model"] == {"path": "Qwen/Qwen3-0.6B"}
    assert raw["rollout"]["group_size"] == 8
    assert raw["batch"]["num_groups"] == 4  # 8 x 4 completions, 8 to a group
    assert raw["length"]["stages"] == [256]
    assert raw["learner"]["loss"] == "dapo"  # by default
    assert raw["learner"]["schedule"] == {"shape": "constant", "warmup_steps": 3}
    assert raw["learner"]["lora"] == {
        "rank": 8, "alpha": 16, "modules": ["q_proj", "v_proj"], "dropout": 0.0,
    }  # fmt: skip
    assert raw["clip"] == {"eps": 0.2, "eps_high": 0.28, "widening_max": 0.0}
    assert raw["env"]["reward"] == {"kind": "sum", "parts": ["right", "brief"],
                                    "weights": [1.0, 0.1]}  # fmt: skip
    assert raw["env"]["graders"]["right"]["args"]["function"] == "mine_rewards.py:right"
    for line in (
        "num_generations = 8, per_device_train_batch_size = 8, gradient_accumulation_steps = 4 -> "
        "rollout.group_size = 8, batch.num_groups = 4, sync.every_steps = 1",
        "top_k = 20 -> no counterpart: sampling is cut by rollout.top_p alone",
        "logging_steps = 1 -> no counterpart: every step is logged, in metrics.jsonl",
        'loss_type = "dapo" (by default) -> learner.loss = "dapo"',
    ):
        assert f"  {line}\n" in said
    assert "#   top_k = 20 -> no counterpart" in Path("mine.toml").read_text()


def test_reward_functions_come_along_with_what_they_use(here: Path) -> None:
    imported("trl_sums.py")
    text = Path("mine_rewards.py").read_text()
    assert "GRPOTrainer" not in text
    assert "load_dataset" not in text
    names: dict[str, Any] = {}
    exec(compile(text, "mine_rewards.py", "exec"), names)
    assert names["right"](["it is 7", "it is 8"], ["7", "7"]) == [1.0, 0.0]


def test_a_script_that_reuses_what_it_samples(here: Path) -> None:
    raw, said = imported("trl_maths.py")
    assert raw["model"]["path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (raw["batch"]["num_groups"], raw["sync"]["every_steps"]) == (2, 2)
    assert raw["checkpoint"]["every_steps"] % 2 == 0 if "checkpoint" in raw else True
    assert raw["learner"]["loss"] == raw["learner"]["advantage"] == "dr_grpo"
    assert raw["learner"]["tokens_per_sequence"] == 512
    assert raw["env"]["graders"]["accuracy_reward"]["kind"] == "math"
    assert "num_train_epochs = 2 -> no counterpart" in said
    assert "train_dataset.filter(lambda row: len(row[" in said
    assert 'vllm_mode = "colocate" -> by hand: set ray.colocate for one server' in said
    assert "GRPOTrainer.processing_class = tokenizer -> no counterpart: the tokenizer is" in said
    assert "num_iterations = 2 -> no counterpart: a batch is trained on once" in said


def test_a_script_over_conversations(here: Path) -> None:
    raw, said = imported("trl_chat.py")
    assert raw["name"] == "chat-3"
    assert raw["env"]["args"] == {"path": "chats.jsonl", "test_path": "rows.jsonl"}
    assert raw["env"]["graders"]["says_it"]["args"]["format"] == "messages"
    assert raw["learner"]["loss"] == "gspo"
    assert raw["rollout"]["temperature"] == 0.9
    assert raw["rollout"]["template_args"] == {"enable_thinking": False}
    assert "seed" not in raw
    assert 'seed = int(os.environ.get("SEED", "1")) -> no counterpart: its value is known' in said


def test_verl_with_its_own_rule(here: Path) -> None:
    raw, said = imported("verl_gsm8k.yaml")
    assert raw["name"] == "qwen_gsm8k"
    assert raw["env"] == {
        "path": "qa", "args": {"path": "train.parquet", "test_path": "test.parquet"},
    }  # fmt: skip
    assert raw["rollout"]["group_size"] == 5
    assert (raw["batch"]["num_groups"], raw["sync"]["every_steps"]) == (32, 2)
    assert raw["rollout"]["max_context"] == 1536
    assert raw["learner"]["kl_weight"] == 0.001
    assert raw["learner"]["learning_rate"] == 1e-6  # which YAML 1.1 takes for a text
    assert raw["learner"]["schedule"]["warmup_steps"] == 20
    assert raw["clip"]["outer"] == 3.0
    assert raw["checkpoint"]["every_steps"] == 24  # the nearest end of a wave
    assert raw["eval"]["every_steps"] == 5
    assert "actor_rollout_ref.ref (1 key) -> no counterpart: the reference is" in said
    assert "fsdp_config (2 keys) -> no counterpart" in said


def test_verl_as_dapo(here: Path) -> None:
    raw, said = imported("verl_dapo.yaml")
    assert raw["name"] == "dapo-1.5B"
    assert raw["clip"] == {"eps": 0.2, "eps_high": 0.28, "widening_max": 0.0, "outer": 10.0}
    assert raw["rollout"]["pass_rate"] == [0.01, 0.99]
    assert raw["rollout"]["max_context"] == 2304
    assert raw["eval"] == {"runs": 8, "every_steps": 0}
    assert raw["rewards"]["length_form"] == "overlong"
    assert (raw["rewards"]["overlong_tokens"], raw["rewards"]["length_weight"]) == (512, 1.0)
    assert "entropy_coeff = 0.001 -> no counterpart: there is no entropy bonus" in said


def test_verl_with_a_function_of_ones_own(here: Path) -> None:
    raw, said = imported("verl_own_score.yaml", MODEL)
    assert [env["path"] for env in raw["env"]] == ["prompts", "prompts"]
    assert raw["env"][0]["graders"]["score"]["args"]["function"] == "score.py:compute"
    assert raw["batch"]["num_groups"] == 16  # ${data.train_batch_size}
    assert raw["learner"]["lora"] == {"rank": 32, "alpha": 64, "modules": []}
    assert "path = ${oc.env:MODEL_PATH} -> no counterpart: its value is known only when" in said
    assert 'adv_estimator = "gae" -> no counterpart: there is no critic' in said
    assert "critic (2 keys) -> no counterpart" in said


def test_prime_rl(here: Path) -> None:
    raw, said = imported("prime_rl_gym.toml")
    assert raw["env"] == {"path": "reasoning_gym", "args": {"dataset": "chain_sum", "size": 500}}
    assert (raw["rollout"]["group_size"], raw["batch"]["num_groups"]) == (16, 8)
    assert raw["sync"] == {"every_steps": 1, "max_staleness": 4}
    assert raw["learner"]["schedule"]["final"] == pytest.approx(0.1)
    assert raw["checkpoint"] == {"every_steps": 20, "keep": 2}
    assert "deployment (2 keys) -> no counterpart" in said
    lora = imported_again("prime_rl_maths.toml")
    assert lora["name"] == "maths-lora"
    assert lora["env"]["args"] == {"path": "rows.jsonl", "answer": "answer", "question": "prompt"}
    assert lora["learner"]["lora"]["modules"] == ["q_proj", "v_proj"]
    assert lora["learner"]["activation_checkpointing"] is True
    older = imported_again("prime_rl_older.toml")
    assert [env["weight"] for env in older["env"]] == [2.0, 1.0]
    assert older["learner"]["optimizer"] == "muon"


def imported_again(name: str) -> dict[str, Any]:
    run_import(name, "mine.toml", (), force=True)
    return tomllib.loads(Path("mine.toml").read_text())


def test_a_task_set_of_verifiers_goes_to_an_interpreter_of_its_own(here: Path) -> None:
    text = Path("prime_rl_gym.toml").read_text()
    Path("other.toml").write_text(text.replace('"reasoning-gym"', '"me/word-game"'))
    raw, said = imported("other.toml")
    assert raw["env"]["path"] == "remote"
    assert raw["env"]["args"] == {
        "python": "verifiers/bin/python", "side": "verifiers", "taskset": "me/word-game",
        "config": {"gym": "chain_sum", "num_train_examples": 500},
    }  # fmt: skip
    assert "docs/foreign.md says how to make one" in said


TRAINER = "from trl import *\nGRPOTrainer(model='a/b', reward_funcs=f, train_dataset=d{})\n"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.py", "print(1)", r"a\.py makes no GRPOTrainer\(\.\.\.\): no script of TRL's GRPO"),
        ("a.py", "SFTTrainer(model=1)", r"but SFTTrainer\(\.\.\.\), which does something else"),
        ("a.py", "x = (\n  1", r"a\.py:1 is no Python: '\(' was never closed"),
        ("a.py", "", "makes no GRPOTrainer"),
        ("a.py", "x = 1\0", "is no Python"),
        ("a.py", "x = " + "(" * 1000 + ")" * 1000, "is no Python"),
        ("a.py", "GRPOTrainer()\nGRPOTrainer()", r"makes 2 of GRPOTrainer \(lines 1, 2\)"),
        ("a.py", TRAINER.format(", args=parse()"), r"a\.py:2: args = parse\(\) is no GRPOConfig"),
        ("a.py", TRAINER.format(", args=GRPOConfig(**read())"),
         r"a\.py:2: \*\*read\(\) is known only when it runs"),
        ("a.py", TRAINER.format(", args=GRPOConfig(num_generations=1)"), "two attempts at least"),
        ("a.py", TRAINER.format(""), r"train_dataset = d does not say .* add --env.args.path"),
        ("a.py", "GRPOTrainer(model=load())", r"model = load\(\) does not say .* --model.path"),
        ("a.yaml", "a: [", "is no YAML"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "is no YAML"),
        ("a.yaml", "", "no configuration of verl's"),
        ("a.yaml", "data: &a {b: *a}", "nested too deeply"),
        ("a.yaml", "".join(f"x{n}: &x{n} {{{', '.join(f'k{k}: *x{n - 1}' for k in range(9))}}}\n"
                           if n else "x0: &x0 1\n" for n in range(9)) + "data: *x8\n",
         "more than 10,000 keys"),
        ("a.yaml", "- 1", "no configuration of verl's"),
        ("a.yaml", "data: {x: 1}\n", "actor_rollout_ref.model.path, which is not set"),
        ("a.yaml", "data: {train_batch_size: many}\n", r"a\.yaml: a value is not what its key tak"),
        ("a.toml", "a = ", "is no TOML"),
        ("a.toml", "", "is no configuration of prime-rl's"),
        ("a.toml", "max_steps = 3\n", "is no configuration of prime-rl's"),
        ("a.toml", "[orchestrator]\nbatch_size = 8\n", "model.name, which is not set"),
        ("a.toml", 'num_steps = 3\nenv = "arithmetic"\n', "a file of Munro's already: munro climb"),
        ("a.json", "{}", "nothing else is read"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_one_line(
    here: Path, name: str, text: str, sentence: str
) -> None:
    Path(name).write_text(text)
    with pytest.raises(BadConfig, match=sentence) as caught:
        run_import(name, "", ())
    assert "\n" not in str(caught.value)
    assert not Path("a_munro.toml").exists()


def test_files_that_are_there_are_not_written_over(here: Path) -> None:
    run_import("trl_sums.py", "", ())
    with pytest.raises(BadConfig, match=r"trl_sums_munro\.toml is there already"):
        run_import("trl_sums.py", "", ())
    run_import("trl_sums.py", "", (), force=True)
    with pytest.raises(BadConfig, match=r"there is no file none\.py"):
        run_import("none.py", "", ())
    with pytest.raises(BadConfig, match="is a folder"):
        run_import(str(here), "", ())
    with pytest.raises(BadConfig, match=r"ends in \.toml"):
        run_import("trl_sums.py", "recipe.py", ())


def test_nothing_of_a_script_is_run(here: Path) -> None:
    Path("a.py").write_text(
        "open('ran', 'w')\nx = 9 ** 9 ** 9\n" + TRAINER.format(", args=GRPOConfig(seed=x)")
    )
    said = run_import("a.py", "", [("env.path", "qa"), ("env.args.path", "rows.jsonl")])
    assert not Path("ran").exists()
    assert "seed = x -> no counterpart: its value is known only when it runs" in said


def test_a_value_that_its_key_does_not_take_is_listed(here: Path) -> None:
    Path("a.py").write_text(TRAINER.format(", args=GRPOConfig(learning_rate='x')"))
    said = run_import("a.py", "", [("env.path", "qa"), ("env.args.path", "rows.jsonl")])
    assert 'learning_rate = "x" -> no counterpart: it is no value for learner.learning_rate' in said


def test_what_is_open_can_be_said_on_the_command_line(here: Path) -> None:
    Path("a.py").write_text(TRAINER.format(""))
    said = run_import("a.py", "", [("env.path", "qa"), ("env.args.path", json.dumps("rows.jsonl"))])
    assert "said here: env.path = qa" in said
    assert "a new one" in plan(load("a_munro.toml"))
