"""The state of a climb is a value: what is saved is what is loaded."""

import json
from dataclasses import replace

from munro.rl.clip import Clip
from munro.rl.collapse import Watch
from munro.rl.config import ClipConfig, LengthConfig
from munro.rl.state import ClimbState, Cursor

CLIP = ClipConfig(entropy_target=0.3, entropy_step=0.25, widening_max=0.5)
LENGTH = LengthConfig(stages=(8, 16), patience=2, truncation_trigger=0.5)


def stepped(state, *, entropy=0.1, truncated=0.0):
    return state.after(
        entropy=entropy,
        truncated=truncated,
        cursor=Cursor(),
        clip=CLIP,
        length=LENGTH,
        watch=Watch(),
    )


def test_a_saved_state_loads_as_an_equal_one():
    state = ClimbState(
        clip=Clip(eps=0.5, widening=0.25),
        step=7,
        policy_version=3,
        stage=1,
        truncation=(0.1, 0.2),
        cursor=Cursor(next_index=9, pending=(4, 8), acceptance=0.3, pass_rates={"a": 0.5}),
        watch=Watch(counts={"entropy_low": 2}, rates=(0.5, 0.25), best=0.5, failure="none left"),
        began_step=5,
        began_stage=1,
    )
    assert ClimbState.from_json(state.to_json()) == state


def test_low_entropy_widens_up_to_the_cap_and_high_entropy_narrows_to_zero():
    state = ClimbState.first(CLIP)
    seen = []
    for entropy in (0.1, 0.1, 0.1, 0.9, 0.9, 0.9):
        state = stepped(state, entropy=entropy)
        seen.append(state.clip.widening)
    assert seen == [0.25, 0.5, 0.5, 0.25, 0.0, 0.0]


def test_a_stage_ends_when_truncation_stays_high_and_its_history_starts_afresh():
    state = stepped(ClimbState.first(CLIP), truncated=0.9)
    assert (state.stage, len(state.truncation)) == (0, 1)
    state = stepped(state, truncated=0.9)
    assert (state.stage, state.truncation) == (1, ())


def test_a_new_policy_changes_nothing_but_the_version():
    state = ClimbState.first(CLIP)
    assert state.with_new_policy() == replace(state, policy_version=1)


def test_a_restarted_climb_keeps_its_place_and_forgets_what_the_old_weights_did():
    state = replace(
        ClimbState.first(CLIP),
        clip=Clip(eps=0.5, widening=0.25),
        step=7,
        policy_version=3,
        stage=1,
        truncation=(0.1,),
        cursor=Cursor(next_index=9, pending=(4,)),
        watch=Watch(failure="no task passed the gates"),
    )
    assert state.restarted() == replace(
        state,
        clip=Clip(eps=0.5, widening=0.0),
        policy_version=4,
        truncation=(),
        watch=Watch(),
        began_step=7,
        began_stage=1,
    )


def test_a_state_from_before_there_was_a_watch_loads():
    state = ClimbState.first(CLIP)
    written = json.loads(state.to_json())
    for key in ("watch", "began_step", "began_stage"):
        del written[key]
    del written["clip"]["eps_high"]
    assert ClimbState.from_json(json.dumps(written)) == state


def test_an_upper_bound_of_its_own_is_kept_and_widened_from_there():
    state = ClimbState.first(CLIP.model_copy(update={"eps": 0.2, "eps_high": 0.28}))
    assert (state.clip.low, state.clip.high) == (0.8, 1.28)
    assert ClimbState.from_json(state.to_json()) == state
    assert stepped(state).clip.high == 1.53


def test_pending_tasks_are_written_as_ranges():
    pending = (3, 4, 5, *range(10, 100_000))
    state = replace(ClimbState.first(ClipConfig()), cursor=Cursor(next_index=1, pending=pending))
    assert '"pending": [[3, 6], [10, 100000]]' in state.to_json()
    assert ClimbState.from_json(state.to_json()) == state
