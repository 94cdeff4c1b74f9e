"""`munro submit`: scripts that a shell takes, words that come through whole, one line where not."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from munro.machine.cli.main import munro
from munro.machine.errors import BadConfig
from munro.machine.submitting.ray_job import through_ray
from munro.machine.submitting.slurm import Slurm, script

RECIPE = 'num_steps = 3\nenv = "arithmetic"\nname = "mine"\n'
NASTY = ["a b", "$HOME", "`id`", "; touch x", "'", '"', "*", "ü", "[1, 2]", '{ a = "b" }']


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose name has a blank and a quote, with a recipe in it."""
    folder = tmp_path / "it's here"
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE)
    monkeypatch.chdir(folder)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return folder


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/bash\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def typed(*words: str) -> Result:
    return CliRunner().invoke(munro, ["submit", *words], prog_name="munro")


def refusal(*words: str) -> str:
    done = typed(*words)
    assert isinstance(done.exception, BadConfig), (done.exception, done.output)
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_a_dry_run_prints_the_script_and_sends_nothing(here: Path) -> None:
    done = typed("recipe.toml", "--slurm", "--dry-run", "--partition", "gpu", "--gpus", "8",
                 "--time", "24:00:00", "--sbatch", "--qos=high", "--num_steps", "7")  # fmt: skip
    assert done.exit_code == 0, done.output
    for line in ("#SBATCH --job-name=mine", "#SBATCH --partition=gpu", "#SBATCH --gpus-per-node=8",
                 "#SBATCH --time=24:00:00", "#SBATCH --qos=high"):  # fmt: skip
        assert line in done.output.split("\n")
    assert "munro climb recipe.toml --num_steps 7 &" in done.output
    assert "ray start" not in done.output


def test_the_script_runs_the_climb_in_this_folder_word_for_word(here: Path, tmp_path: Path) -> None:
    """With a stand-in for munro that writes down where it is and what it is told."""
    bin_folder = tmp_path / "bin"
    program(bin_folder, "munro", 'pwd > told; printf "%s\\n" "$@" >> told')
    text = script([str(bin_folder / "munro"), "climb", *NASTY], name="mine", folder=here,
                  slurm=Slurm())  # fmt: skip
    done = subprocess.run(["bash"], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (here / "told").read_text().split("\n")[:-1] == [str(here), "climb", *NASTY]


def test_a_climb_that_fails_fails_the_job(here: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "munro", "exit 3")
    text = script([str(tmp_path / "bin" / "munro")], name="mine", folder=here, slurm=Slurm())
    assert subprocess.run(["bash"], input=text, text=True, check=False).returncode == 3


def test_the_end_of_the_time_is_told_to_the_climb(here: Path, tmp_path: Path) -> None:
    program(
        tmp_path / "bin",
        "munro",
        "trap 'echo saved > told; exit 0' TERM; touch ready; while :; do sleep 0.05; done",
    )
    text = script([str(tmp_path / "bin" / "munro")], name="mine", folder=here, slurm=Slurm())
    with subprocess.Popen(["bash", "-c", text]) as job:
        while not (here / "ready").exists():
            assert job.poll() is None
        job.terminate()
        job.wait()
    assert (here / "told").read_text() == "saved\n"


def test_several_nodes_make_one_ray_cluster(here: Path, tmp_path: Path) -> None:
    """With stand-ins for Slurm's commands that write down what they are told."""
    bin_folder = tmp_path / "bin"
    program(bin_folder, "munro", 'echo "munro $*" >> told')
    program(bin_folder, "srun", 'echo "srun $*" >> told')
    program(bin_folder, "scontrol", "echo one; echo two; echo three")
    program(bin_folder, "sleep", "")
    text = script([str(bin_folder / "munro"), "climb", "r.toml"], name="mine", folder=here,
                  slurm=Slurm(nodes=3, gpus=4))  # fmt: skip
    done = subprocess.run(
        ["bash"], input=text + "wait\n", text=True, capture_output=True, check=False,
        env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "x"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = (here / "told").read_text().split("\n")
    assert "munro climb r.toml --ray.address auto" in told
    heads = [line for line in told if "--head" in line]
    assert len(heads) == 1
    assert "--nodelist=one" in heads[0]
    assert "--num-gpus=4" in heads[0]
    assert sum("--address=one:6379" in line for line in told) == 2


def test_sbatch_is_given_the_script(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "sbatch", "cat > sent; echo Submitted batch job 12")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    done = typed("recipe.toml", "--slurm")
    assert done.output.endswith("Submitted batch job 12\n")
    assert (here / "sent").read_text().startswith("#!/bin/bash\n#SBATCH --job-name=mine\n")
    program(tmp_path / "bin", "sbatch", "echo 'sbatch: error: no partition x' >&2; exit 1")
    assert refusal("recipe.toml", "--slurm") == "sbatch refused: sbatch: error: no partition x"


def test_what_cannot_be_sent_to_slurm_is_one_line(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--qos=a b" in refusal("recipe.toml", "--slurm", "--dry-run", "--sbatch", "--qos=a b")
    assert "SBATCH" in refusal("recipe.toml", "--slurm", "--dry-run", "--account", "a\n#SBATCH x")
    assert "unknown key num_stepz" in refusal("recipe.toml", "--slurm", "--num_stepz", "3")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal("recipe.toml", "--slurm").startswith("there is no sbatch here")


def test_a_job_of_ray_is_one_command(here: Path) -> None:
    done = typed("recipe.toml", "--ray-job", "--dry-run", "--address", "http://head:8265",
                 "--folder", "/shared/runs", "--num_steps", "7")  # fmt: skip
    assert done.exit_code == 0, done.output
    words = shlex.split(done.output)
    assert words[1:4] == ["job", "submit", "--no-wait"]
    assert words[words.index("--") + 1 :] == [
        "munro", "climb", "recipe.toml", "--folder", "/shared/runs", "--num_steps", "7",
        "--ray.address", "auto",
    ]  # fmt: skip
    assert '"working_dir": "' + str(here) in words[words.index("--runtime-env-json") + 1]


@pytest.mark.parametrize("word", [one for one in NASTY if "$" not in one and "`" not in one])
def test_words_come_through_ray_whole(word: str) -> None:
    joined = subprocess.list2cmdline(["printf", "%s", through_ray(word)])  # as Ray joins them
    done = subprocess.run(["sh", "-c", joined], capture_output=True, text=True, check=False)
    assert done.stdout == word


@pytest.mark.parametrize("word", ["$HOME", "`id`", "a;b", "(x)"])
def test_nothing_in_a_word_is_run_by_the_shell_of_the_job(word: str) -> None:
    joined = subprocess.list2cmdline(["printf", "%s", through_ray(word)])
    done = subprocess.run(["sh", "-c", joined], capture_output=True, text=True, check=False)
    assert done.stdout == word


def test_what_cannot_be_sent_to_ray_is_one_line(here: Path) -> None:
    shared = ("--folder", "/shared/runs")
    assert refusal("recipe.toml", "--ray-job", *shared).startswith("which cluster?")
    assert "begins with http://" in refusal("recipe.toml", "--ray-job", *shared, "--address", "h:1")
    assert "goes with the job" in refusal("recipe.toml", "--ray-job", "--address", "http://h:1")
    address = ("--address", "http://127.0.0.1:9", "--dry-run")
    assert "does not come through" in refusal(
        "recipe.toml", "--ray-job", *address, "--folder", "/a $HOME"
    )
    for words, said in (
        ((), "say where to: --slurm or --ray-job"),
        (("--slurm", "--ray-job"), "say where to"),
        (("--ray-job", "--nodes", "2"), "--nodes is for --slurm"),
    ):
        done = typed("recipe.toml", *words)
        assert done.exit_code == 2
        assert said in done.output
