"""Case, punctuation, language, and how a response starts, ends, repeats and goes on."""

from __future__ import annotations

from typing import Annotated

from munro.rewards.instructions.checkers import Relation, compare, instruction
from munro.rewards.instructions.tongues import language_code, speaks
from munro.rewards.instructions.words import tokens

DIVIDER = "******"


@instruction(
    "change_case:capital_word_frequency",
    "Words in all capital letters should appear {capital_relation} {capital_frequency} times.",
)
def capital_word_frequency(
    text: str, *, capital_frequency: int, capital_relation: Relation = "at least"
) -> bool:
    """How many words are all capitals."""
    number = sum(word.isupper() for word in tokens(text))
    return compare(number, capital_relation, capital_frequency)


@instruction(
    "change_case:english_capital", "Your entire response should be in English, all capital letters."
)
def english_capital(text: str) -> bool:
    """Capitals only, and not clearly another language than English."""
    return text.isupper() and speaks(text, "en")


@instruction(
    "change_case:english_lowercase",
    "Your entire response should be in English, all lowercase letters.",
)
def english_lowercase(text: str) -> bool:
    """No capitals, and not clearly another language than English."""
    return text.islower() and speaks(text, "en")


@instruction("punctuation:no_comma", "Refrain from the use of any commas.")
def no_comma(text: str) -> bool:
    """No comma anywhere."""
    return "," not in text


@instruction(
    "language:response_language", "Your entire response should be in the language {language}."
)
def response_language(text: str, *, language: Annotated[str, language_code]) -> bool:
    """It may well be in the language (a code of ISO 639-1, its region left out)."""
    return speaks(text, language)


@instruction(
    "startend:end_checker", 'Finish your response with exactly this phrase: "{end_phrase}"'
)
def end_checker(text: str, *, end_phrase: str) -> bool:
    """The last words, in any case; a closing quotation mark is forgiven."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@instruction("startend:start_checker", 'Start your response with this phrase: "{start_phrase}"')
def start_checker(text: str, *, start_phrase: str) -> bool:
    """The first words, in any case. Not IFEval's."""
    return text.strip().strip('"').lower().startswith(start_phrase.strip().lower())


@instruction("startend:quotation", "Wrap your entire response with double quotation marks.")
def quotation(text: str) -> bool:
    """It begins and ends with a double quotation mark."""
    text = text.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


@instruction(
    "combination:two_responses",
    "Give two different responses, separated by six asterisks: ******",
)
def two_responses(text: str) -> bool:
    """Two texts that differ, with the divider between."""
    found = [part.strip() for part in text.split(DIVIDER)]
    found = found[1:] if not found[0] else found
    found = found[:-1] if found and not found[-1] else found
    return len(found) == 2 and all(found) and found[0] != found[1]


@instruction(
    "combination:repeat_prompt",
    "First repeat this request word for word, then answer it: {prompt_to_repeat}",
)
def repeat_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    """The response begins with the prompt, in any case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


@instruction("sequence:order", "Mention these in this order: {phrases}.")
def order(text: str, *, phrases: list[str]) -> bool:
    """Each phrase stands after the one before it, in any case. Not IFEval's."""
    lowered, at = text.lower(), 0
    for phrase in phrases:
        found = lowered.find(phrase.lower(), at)
        if found < 0:
            return False
        at = found + len(phrase)
    return True


@instruction("sequence:repeat", 'Say "{phrase}" {times} times, with spaces between, and no more.')
def repeat(text: str, *, phrase: str, times: int) -> bool:
    """The phrase so many times and nothing else, in any case. Not IFEval's."""
    wanted = [word.lower() for word in phrase.split()] * times
    return [word.lower() for word in text.split()] == wanted
