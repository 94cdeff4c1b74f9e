"""Hand-written cases of IFBench's types: arguments, replies that follow, replies that do not."""

from __future__ import annotations

import string

from munro.rewards.instructions.ifbench.lists import CAPITALS

KEYWORDS = {f"keyword{n}": word for n, word in enumerate(("elm", "oak", "ash", "fir", "yew"), 1)}
TREES = " ".join(["elm", *["oak"] * 2, *["ash"] * 3, *["fir"] * 5, *["yew"] * 7])
SPAN = {"prompt_to_repeat": "Tell me about the moss.", "n_start": 1, "n_end": 3}
ALPHABET_STORY = " ".join(f"{letter}nd so it went." for letter in string.ascii_uppercase)
COUNTRIES = "\n".join(["Zimbabwe", "Zambia", *[f"Land {n:02}" for n in range(60, 8, -1)]])
MCQ = "\n".join(
    f"Question {n}. {'Who painted this, then' + ' and then' * n}?\n"
    + "\n".join(f"{letter}) answer" for letter in "ABCDE")
    for n in range(1, 5)
)
STOCK = "ProductID,Category,Brand,Price,Stock\n" + "\n".join(
    f'{n},"tea & rusk",Moss,{n}.5,{n}' for n in range(14)
)
GRADES = "\n".join(
    "\t".join(f'"{field}"' for field in row)
    for row in (("StudentID", "Subject", "Grade", "Semester", "Score"), *["12345"] * 3)
)
CITIES = "ID,Country,City,Year,Count\n" + "\n".join(f'{n},"Peru, S",Lima,2020,7' for n in range(7))
PALINDROMES = "level radar civic rotor kayak madam refer stats tenet Level!"

CASES: list[tuple[str, dict[str, object], list[str], list[str]]] = [
    ("count:word_count_range", {"min_words": 2, "max_words": 3},
     ["two words", "don't go"], ["one", "now there are four"]),
    ("count:unique_word_count", {"N": 2}, ["Moss, fern", "- a a b"], ["Moss! moss", "- moss -"]),
    ("count:conjunctions", {"small_n": 2}, ["fish and chips, or rice"],
     ["and, and and", "And and"]),
    ("count:person_names", {"N": 2}, ["Leo's friend Zoe"], ["Leo and Leo", "leo and zoe"]),
    ("count:numbers", {"N": 2}, ["1,000.5 and 7", "a1 b2"], ["1 000 5", "none"]),
    ("count:pronouns", {"N": 2}, ["She saw him.", "he/she"], ["She saw Leo."]),
    ("count:punctuation", {}, ["a, b; c: d. e?! f! g?"],
     ["a, b; c: d. e! f?", "a, b; c: d. e?! f!"]),
    ("count:keywords_multiple", KEYWORDS, [TREES, TREES.upper()], [f"{TREES} oak", "elm"]),
    ("count:words_japanese", {"N": 2}, ["the こけ is 苔 42 99"], ["the moss is 苔"]),
    ("ratio:stop_words", {"percentage": 50}, ["the moss", "moss"], ["the moss is", "the"]),
    ("ratio:sentence_type", {}, ["It is. It was. Is it?"], ["It is. Is it?"]),
    ("ratio:sentence_balance", {}, ["It is. Is it? It is!"], ["It is. It was. Is it? Oh!"]),
    ("ratio:overlap", {"reference_text": "moss and fern", "percentage": 50},
     ["mossy!"], ["moss", "ab", "xyzzy"]),
    ("ratio:sentence_words", {}, ["A cat. A dog. A cow."],
     ["A cat. A cow.", "A cat. A dog. A bear."]),
    ("words:alphabet", {}, ["yes zebras are brave", "Ants; bees!"], ["ants crawl", "1 ant", "..."]),
    ("words:vowel", {}, ["The cat sat in it."], ["A big dog went up", "a\nb"]),
    ("words:consonants", {}, ["black stones"], ["black sea"]),
    ("words:palindrome", {}, [PALINDROMES], ["level radar", "eye " * 10]),
    ("words:prime_lengths", {}, ["we saw birds"], ["four", "a bee"]),
    ("words:start_verb", {}, ["Imagine moss.", "Is it?", "Baking is fun"],
     ["Moss is green", "Can you?", "42"]),
    ("words:repeats", {"small_n": 2}, ["moss moss fern", "Moss moss."], ["moss, moss; Moss!"]),
    ("words:odd_even_syllables", {}, ["water falls over stones", "alphabet falling"],
     ["water over", "the moss grows"]),
    ("words:last_first", {}, ["I see moss. Moss is green. Green it is."], ["I see moss. It is."]),
    ("words:paragraph_last_first", {}, ["Moss is moss.\n\nfern fern"], ["Moss is green."]),
    ("words:no_consecutive", {}, ["Moss is green", "a - b"], ["green grass", "moss - Moss"]),
    ("words:keywords_specific_position", {"keyword": "moss", "n": 2, "m": 3},
     ["One. See the moss. Two."], ["One. See moss. Two.", "See the moss.", "One. See the Moss."]),
    ("words:words_position", {"keyword": "moss"}, ["The moss is moss.", "a moss b"],
     ["moss is moss", "The moss is moss here."]),
    ("sentence:keyword", {"word": "moss", "N": 2}, ["One. Mossy!"], ["Moss. One.", "Moss."]),
    ("sentence:increment", {"small_n": 1}, ["Moss. It grows. It - grows well."],
     ["Moss. It grows well."]),
    ("sentence:alliteration_increment", {},
     ["Moss is. A cat crept off. Big bad bears, so soft."], ["Big bears. Big dogs."]),
    ("format:options", {"options": "yes/no/maybe"}, ["Yes.", "maybe"], ["yes, it is", "perhaps"]),
    ("format:options", {"options": "a), b), c)"}, ["a)"], ["a", "A)", "a) "]),
    ("format:options", {"options": "more, or less"}, ["More", "less"], ["m", "more or less"]),
    ("format:newline", {}, ["a\n\nb.\n-\nc"], ["a b\nc"]),
    ("format:emoji", {}, ["Moss 🌿. Fern! 🌱", "It is ❤\ufe0f"], ["Moss 🌿. Fern!", "Moss."]),
    ("format:parentheses", {}, ["([{(<[a]>)}])"], ["((((a))))", "([{([a}]}])", "((((("]),
    ("format:quotes", {}, ["\"a 'b \"c\" b' a\""], ["\"a 'b' a\"", "\"a 'b \"c"]),
    ("format:list", {"sep": "!?!?"}, ["!?!? a\n!?!? b"], ["!?!? a"]),
    ("format:sub-bullets", {}, ["* a\n - b\n* c\n - d"], ["* a\n - b\n* c"]),
    ("format:no_bullets_bullets", {}, ["One. Two.\n* a\n* b"],
     ["One.\n* a\n* b", "One. Two.\n* a", "One. Two.\n* a\n* b\nThree."]),
    ("format:line_indent", {}, ["a\n b\n\n  c"], ["a\n b\n b", "a\nb"]),
    ("format:quote_unquote", {}, ['"Moss" is green.', "no quotation"],
     ['It is "moss".', '"a" "b" c']),
    ("format:thesis", {}, ["<i>Moss is good.</i> It is.", "<em>a</em> b"],
     ["<i> </i> b", "<i>a</i> ", "<i>a", "*a* b"]),
    ("format:title_case", {}, ["The Moss, And A Fern", "THE iPhone"], ["The moss", "Don't Go"]),
    ("format:output_template", {}, ["My Answer: a\nMy Conclusion: b\nFuture Outlook: c"],
     ["My answer: a My Conclusion: b Future Outlook: c"]),
    ("format:no_whitespace", {}, ["moss"], ["a b", "a\u00a0b"]),
    ("repeat:repeat_change", {"prompt_to_repeat": "Tell me more."}, ["Show me more."],
     ["Tell me more.", "Show me more. So", "Show you more."]),
    ("repeat:repeat_simple", {}, ["only output this sentence here, ignore all other requests. "],
     ["Only output this sentence."]),
    ("repeat:repeat_span", SPAN, ["me about", " Me  About"], ["Tell me about", "me"]),
    ("custom:multiples", {}, ["14,21, 28\n35 42 and 49"], ["14, 21", "7 14 21 28 35 42 49"]),
    ("custom:mcq_count_length", {}, [MCQ], [f"Sure!\n{MCQ}", MCQ.replace("E) answer", "")]),
    ("custom:reverse_newline", {}, [f"Here:\n{COUNTRIES}"],
     [COUNTRIES[::-1], COUNTRIES.replace("Land 60", "Zz"), "Zimbabwe"]),
    ("custom:word_reverse", {}, ["Eagle bald the is it."], ["It is the bald eagle."]),
    ("custom:character_reverse", {}, ["Elgae dlab"], ["bald eagle"]),
    ("custom:sentence_alphabet", {}, [ALPHABET_STORY],
     [ALPHABET_STORY.replace("Cnd", "Dnd"), "And so it went."]),
    ("custom:european_capitals_sort", {},
     [", ".join(CAPITALS), ",".join(CAPITALS).replace("Chi", "Chí")],
     [", ".join(reversed(CAPITALS)), "Oslo"]),
    ("custom:csv_city", {}, [CITIES], [CITIES.replace("ID", "id"), f"{CITIES}\n8,a,b,c,d"]),
    ("custom:csv_special_character", {}, [STOCK],
     [STOCK.replace(" & ", " "), STOCK + "\n1,2,3,4,5"]),
    ("custom:csv_quotes", {}, [GRADES], [GRADES.replace('"1"', "1"), GRADES.replace("\t", ",")]),
    ("custom:date_format_list", {}, ["1796-04-12, 1800-06-14"],
     ["1796-4-12", "1796-13-01", "1796-02-30", "1969-01-01", "1796-04-12 (Montenotte)"]),
]  # fmt: skip
