from __future__ import annotations

import pytest

from calibration.words import JudgedWords, judge_words, normaliser_for


def judged(text: str, reference: str, words: list[str] | None = None) -> JudgedWords:
    return judge_words(words or text.split(), text, reference, normaliser_for("en"))


def marks(found: JudgedWords) -> str:
    """One letter per displayed word: r right, w wrong, - not counted."""
    pairs = zip(found.outcomes.correct, found.outcomes.counted, strict=True)
    return "".join("-" if not counted else "r" if correct else "w" for correct, counted in pairs)


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("Hello, world!", "hello world", "rr"),
        ("Hello there world", "hello world", "rwr"),
        ("Hello word", "hello world", "rw"),
        ("10:00 AM", "10:00 am", "rr"),
        ("10:00 AM", "10 am", "wr"),  # "10:00" becomes "10 0", of which one token is wrong
        ("Twenty one dollars uh and fifty cents", "$21.50", "rrr-rrr"),
        ("It was twenty one dollars uh and fifty cents then", "it was $21.15 then", "rrwww-wwwr"),
        ("I won't go", "I will not go", "rrr"),
        ("I won't go", "I will go", "rwr"),
        ("Uh, well", "well", "-r"),
        ("Uh", "", "-"),
        ("the colour", "the color", "rr"),
        ("a a b", "a b", "rwr"),  # two alignments are as good: which one is taken stays fixed
    ],
)
def test_displayed_words_are_judged_by_their_normalised_tokens(text: str, reference: str, expected: str) -> None:
    assert marks(judged(text, reference)) == expected


def test_words_invented_over_silence_are_wrong() -> None:
    found = judged("Thank you.", "")
    assert marks(found) == "ww"
    assert (found.errors, found.reference) == (2, 0)


def test_words_that_nothing_stands_for_are_missed_after_a_position() -> None:
    found = judged("a b c", "a x y b c d")
    assert marks(found) == "rrr"
    assert found.missed == (1, 1, 3)
    assert (found.errors, found.reference) == (3, 6)
    silent = judged("", "hello there", [])
    assert (silent.missed, silent.errors) == ((0, 0), 2)


def test_a_word_cut_by_the_tokenizer_is_judged_by_its_part() -> None:
    assert marks(judged("a well-known man", "a well known man", ["a", "well", "-known", "man"])) == "rrrr"
    assert marks(judged("a well-known man", "a well groomed man", ["a", "well", "-known", "man"])) == "rrwr"


def test_errors_are_those_of_the_word_error_rate() -> None:
    found = judged("the cat sat down", "a cat sat")
    assert (found.errors, found.reference) == (2, 3)


def test_the_normaliser_is_pinned_by_name_and_version() -> None:
    assert normaliser_for("en").as_json() == {"name": "whisper_normalizer.EnglishTextNormalizer", "version": "0.1.15"}
    assert normaliser_for("de").name.endswith("BasicTextNormalizer")
