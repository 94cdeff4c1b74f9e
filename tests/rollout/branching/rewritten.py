"""Templates that rewrite earlier turns, and scripted episodes in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from munro.envs.types import Message
from munro.rollout.branches import way
from munro.rollout.engine import Completion
from munro.rollout.episode import Limits, play
from munro.rollout.render import renderer
from tests.builders import make_task
from tests.rollout.builders import CHATML, ScriptedEngine, make_tokenizer

# shows the thought of a turn only until the user speaks again, trims what follows a thought
FORGETFUL = (
    "{% set at = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set at.last = loop.index0 %}{% endif %}"
    "{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if '</think>' not in m.content %}{{ m.content }}"
    "{% else %}{% if loop.index0 > at.last %}"
    "<think>\n{{ m.content.split('</think>')[0].split('<think>')[-1].strip() }}\n</think>\n\n"
    "{% endif %}{{ m.content.split('</think>')[-1].lstrip('\n') }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OPENS = FORGETFUL.replace(
    "<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}"
)
# says up front how long the conversation is, so that every turn changes its beginning
COUNTING = "{{ messages | length }} messages\n" + CHATML
LAST_ONLY = "{{ messages[-1].content }}{% if add_generation_prompt %}>{% endif %}"
TWICE = CHATML.replace("{{ m.content | trim }}", "{{ m.content }}{{ m.content }}")
LIMITS = Limits(max_response_tokens=1000, max_context=2000, max_turns=4, top_p=0.9)
TURNS = ("<think>\nadd\n</think>\n\n41", "<think>\nagain\n</think>\n\n43", "no idea", "42")
THINKS = ("add\n</think>\n\n41", "again\n</think>\n\n43", "</think>no idea", "once\n</think>\n\n42")


def made(template: str):
    tokenizer = make_tokenizer(template, added=("<think>", "</think>"))
    return tokenizer, renderer(tokenizer, "chat")


class Told:
    """An episode, its prompts, and what was read and written in each turn."""

    def __init__(self, template, texts=TURNS, role="user", limits=LIMITS, ids=None, routed=False):
        self.tokenizer, self.render = made(template)
        end = self.render.stop_token_ids[-1]
        self.prompts, self.texts, self.role, self.limits = [], texts, role, limits
        self.written = ids or [[*self.tokenizer.encode(text), end] for text in texts]
        kind = _Routed if routed else ScriptedEngine
        self.engine = kind(self._writes)

    def _writes(self, request):
        self.prompts.append(list(request.prompt_ids))
        return self.written[len(self.prompts) - 1]

    async def play(self, answers=("no", "no, no", "really?")):
        rest = list(answers)

        async def reply(message):
            return [Message(role=self.role, content=rest.pop(0))] if rest else None

        return await play(
            make_task(),
            reply,
            self.engine.generate,
            self.render,
            self.limits,
            seed=7,
            key=(0, 0, 0),
        )

    def shown(self, told, turn):
        """What the template makes of the conversation before a turn, in real words."""
        said = told.messages[: 2 * turn]
        forms = [{"role": m.role, "content": m.text} for m in (*make_task().messages, *said)]
        return self.tokenizer.apply_chat_template(forms, add_generation_prompt=True, tokenize=False)


class _Routed(ScriptedEngine):
    """Every token's expert is the turn that first read it."""

    def _complete(self, request) -> Completion:
        done = super()._complete(request)
        rows = np.full((len(request.prompt_ids) + len(done.token_ids), 1, 1), request.key[-1])
        rows[-1] = -1
        return replace(done, routed_experts=rows.astype(np.int16))


def ways_of(told):
    """What was read and written up to the end of each turn."""
    ends = [int(t) for t in np.flatnonzero(told.sampled) if told.token_ids[t] == told.token_ids[-1]]
    return [told.token_ids[way(end, told.forks)].tolist() for end in ends]
