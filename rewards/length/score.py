"""The length part of a reward (MAI-Thinking-1 report, Eq. 12, after ALP, arXiv 2506.05256)."""

from __future__ import annotations


def penalty(num_tokens: int, pass_rate: float, cap: int) -> float:
    """R_len = rho * |y| / l_max: long answers cost more where the problem is easy.

    Args:
        num_tokens: |y|, sampled tokens of the response, 0 to `cap`.
        pass_rate: rho, share of the group's attempts that passed, 0 to 1.
        cap: l_max, the most tokens a response may have at this stage.

    Returns:
        The deduction before its weight, in [0, 1].

    Raises:
        ValueError: an argument is out of its range.

    Example:
        penalty(500, pass_rate=0.8, cap=1000)       # 0.4
    """
    if cap < 1:
        raise ValueError(f"cap is {cap}: a response may have at least 1 token")
    if not 0 <= num_tokens <= cap:
        raise ValueError(f"num_tokens is {num_tokens}: must lie between 0 and the cap of {cap}")
    if not 0 <= pass_rate <= 1:
        raise ValueError(f"pass_rate is {pass_rate}: must lie between 0 and 1")
    return pass_rate * num_tokens / cap


def alp(num_tokens: int, pass_rate: float, group_size: int, scale: int) -> float:
    """ALP's own form: max(p, 1 / K) * |y| / N, so that unsolved problems cost a little too.

    arXiv 2506.05256. Its beta is the weight of this part (`rewards.length_weight`).

    Args:
        num_tokens: |y|, sampled tokens of the response.
        pass_rate: p, share of the group's attempts that passed, 0 to 1.
        group_size: K, attempts of the group.
        scale: N, tokens that count as 1.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        alp(500, pass_rate=0.0, group_size=16, scale=1000)      # 0.03125
    """
    if group_size < 1:
        raise ValueError(f"group_size is {group_size}: a group has at least 1 attempt")
    if scale < 1:
        raise ValueError(f"scale is {scale}: must be at least 1 token")
    if num_tokens < 0:
        raise ValueError(f"num_tokens is {num_tokens}: must not be negative")
    if not 0 <= pass_rate <= 1:
        raise ValueError(f"pass_rate is {pass_rate}: must lie between 0 and 1")
    return max(pass_rate, 1 / group_size) * num_tokens / scale


def overlong(num_tokens: int, cap: int, stretch: int) -> float:
    """DAPO's soft punishment: nothing until the last stretch before the cap, then a line up to 1.

    arXiv 2503.14476, Eq. 13; its weight is 1 where an answer is worth 1 or -1.

    Args:
        num_tokens: |y|, sampled tokens of the response, 0 to `cap`.
        cap: L_max, the most tokens a response may have at this stage.
        stretch: L_cache, tokens before the cap that cost.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        overlong(900, cap=1000, stretch=200)        # 0.5
    """
    if not 1 <= stretch <= cap:
        raise ValueError(f"stretch is {stretch}: must lie between 1 and the cap of {cap}")
    if not 0 <= num_tokens <= cap:
        raise ValueError(f"num_tokens is {num_tokens}: must lie between 0 and the cap of {cap}")
    return max(num_tokens - (cap - stretch), 0) / stretch
