"""Free English taken apart: words with their spellings evened out, and nouns with what is said of each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from captioning import lexicon

# Compounds that a word-by-word reading would misread, made one word each before anything else.
_SPELLINGS = [
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\b(?:t|tee)[ -]?shirts?\b", "t-shirt"),
        (r"\bvest tops?\b", "tank"),
        (r"\b(tank|polo)[ -](?:top|shirt)s?\b", r"\1"),
        (r"\bdress (shirt|pants|shoes|trousers|slacks|boots)\b", r"\1"),
        (r"\bhigh[ -]tops?\b(?: sneakers| shoes)?", "shoes"),
        (r"\bon top(?: of)?\b", "over"),
        (r"\b(?:short|half)[ -]?sleeve[sd]?\b", "short-sleeved"),
        (r"\b(?:long|full)[ -]?sleeve[sd]?\b", "long-sleeved"),
        (r"\bsleeves are (short|long)\b", r"\1-sleeved"),
        (r"\b(?:hooded|hoodie) (?:sweat ?)?(?:shirt|top|sweater|jacket)\b|\bhoody\b", "hoodie"),
        (r"\bsuit (pants|trousers)\b", r"\1"),
        (r"\bhigh[ -]heel(?:s|ed)?(?: shoes)?\b", "heels"),
        (r"\bflip[ -]?flops?\b", "flip-flops"),
        (r"\bbag (?:slung |worn )?on (?:his|her|the|their) back\b|\bback[ -]?pack\b", "backpack"),
        (r"\b(?:fanny|bum)[ -](?:pack|bag)\b", "bag"),
        (r"\bshopping[ -]trolley\b", "cart"),  # no suitcase
        (r"\b(school|shoulder|messenger|sling|plastic|shopping|paper) ?bags?\b", r"\1-bag"),
        (r"\bhand[ -]bag\b", "handbag"),
        (r"\bcross[ -]?body(?: bag)?\b", "crossbody"),
        (r"\b(?:tote|clutch|cell|mobile|smart|baseball|bucket) ?(bag|phone|hat|cap)\b", r"\1"),
        (r"\bpony[ -]?tail\b", "ponytail"),
        (r"\bcrew[ -]?cut\b", "crew-cut"),
        (r"\b(shoulder|medium|waist)[ -]length\b", r"\1-length"),
        (r"\b(?:shaved|shaven|bald) head\b|\bhead is (?:shaved|shaven|bald)\b", "bald"),
        (r"\bmulti[ -]?colou?r(?:ed)?\b|\b(?:of )?(?:several|many|different|multiple) colou?rs\b", "multicolored"),
        (r"\bpolka[ -]dot(?:s|ted)?\b", "polka-dot"),
        (r"\boff white\b", "off-white"),
        (r"\b(navy|sky|baby|royal) blue\b", r"\1-blue"),
        (r"\b(light|dark|pale)[ -]?colou?red\b", r"\1"),
        (r"\b(\w+)-(?:framed|rimmed)\b", r"\1"),
        (r"\b(dark|light|pale|deep)-(?=[a-z])", r"\1 "),
        (r"\b(\w+)-haired\b", r"\1 hair"),
        (r"\bmiddle aged\b", "middle-aged"),
        (r"(?<=\d) ?(?:yo|y/o|yrs?)\b(?: old\b)?", " years old"),
        (r"^f(?= ?[,/])", "female"),  # as reports begin
        (r"^m(?= ?[,/])", "male"),
        (r"\b-and-\b", " and "),
        (r",\s*(which|that)\b", r" \1"),
        (r"\bpairs? of\b", ""),
        (r"\b(\w+)'s\b", r"\1"),
        (r"\b(\w+)n't\b", r"\1 not"),
        (rf"\bnot (?:(?:dark|light|pale) )?(?:{'|'.join(lexicon.COLOURS)}),? but\b", ""),  # "not black but red"
        (r":", " is "),  # "Pants: black."
        (r"[;!?()/]", " , "),
    )
]

_KINDS = {
    "upper": lexicon.UPPERS,
    "lower": lexicon.LOWERS,
    "shoes": lexicon.SHOES,
    "hair": lexicon.HAIR_NOUNS,
    "carried": lexicon.CARRIED,
}
_KIND_OF = {noun: kind for kind, nouns in _KINDS.items() for noun in nouns}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BREAKS = frozenset({".", ",", "but", "while", "however"})
# Where a noun phrase begins, seen from its noun: anything else before a noun is taken for one of its adjectives.
_STOPS = _BREAKS | _words(
    "a an the this that these those his her their its my some any two three no not without nor neither none or and "
    "with in on at of over under by to from as for into is are was were be been has have had having got wears wear "
    "wore worn wearing dressed clad carries carry carrying holds hold holding pushes pushing pulls pulling rides "
    "riding walks walking he she they it who which whose also"
)
_IS = _words("is are was were")
_LINKS = _IS | _words("be being in of which that all mostly looks very and")
_NOT = frozenset({"no", "not", "without", "nor", "neither", "never"})
_UNDER_NOT = _words("a an any the wear wearing carry carrying hold holding have having with got")

_PEOPLE = (lexicon.GENDERS.keys() - lexicon.PRONOUNS) | _words("person pedestrian child kid friend")
_BESIDE = _words("with beside alongside behind following not")
_BESIDE_PAIRS = _words("next-to close-to accompanied-by followed-by talking-to front-of hand-of hands-with")
_VERBS = _words("is was has wears walks carries holds")
_RESUMES = _VERBS | _words("he she they the wearing carrying holding")


def _slips() -> dict[str, str]:
    """{misspelling: word}: two letters swapped; in a long word one left out, doubled, or a vowel for another."""
    tables = (lexicon.COLOURS, lexicon.PATTERNS, *_KINDS.values(), lexicon.RARE)
    known = {word for table in tables for word in table}
    found: dict[str, str] = {}
    for word in sorted(known):
        places = range(len(word) - 1) if word.isalpha() and len(word) > 3 else ()
        slips = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in places}
        for i in places[1:] if len(word) > 5 else ():
            slips |= {word[:i] + other + word[i + 1 :] for other in ("", word[i] * 2)}
            slips |= {word[:i] + other + word[i + 1 :] for other in "aeiou" if word[i] in "aeiou"}
        found |= dict.fromkeys(slips - known - lexicon.NO_SLIPS, word)
    return found


_RESPELT = lexicon.RARE | _slips()


@dataclass(frozen=True)
class Mention:
    """One noun of the lexicon in a sentence.

    Attributes:
        kind: "upper", "lower", "shoes", "hair" or "carried".
        noun: the word as written.
        before: its adjectives, in order.
        behind: what follows up to the next noun phrase or the end of the sentence.
        negated: whether the sentence says that it is not there.
    """

    kind: str
    noun: str
    before: list[str]
    behind: list[str]
    negated: bool

    @property
    def colour(self) -> str | None:
        """Canonical colour told of it: "dark blue", "black and white striped"; None if there is none."""
        colours, pattern = self._behind()
        own = colour_of(self.before)
        return colour_of([*self.before, *pattern]) if own else colour_of([*colours, *pattern])

    def _behind(self) -> tuple[list[str], list[str]]:
        """Colours of "is black and white", "in navy", "of several colours"; pattern of "with black stripes"."""
        told: list[str] = []
        for i, word in enumerate(self.behind):
            if word == "with":  # a shirt with black stripes is striped, not with one; one with a red logo is not red
                patterns = lexicon.PATTERNS.keys() - {"stripe"}
                return told, [other for other in self.behind[i:] if other in patterns][:1]
            if is_colour(word):
                told.append(word)
            # hair "is tied in a bun and black"; of a garment nothing but a link may stand in between
            elif word not in _LINKS and self.kind != "hair" and not self._leads_on(i, bool(told)):
                break
        return told, []

    def _leads_on(self, i: int, told: bool) -> bool:
        """Whether a colour may follow all the same: "are neon yellow", "is a light blue", "are worn, black and ..."."""
        word, after = self.behind[i], self.behind[i + 1 : i + 3]
        if told or not after or not _IS & set(self.behind[:i]):
            return False
        if word == ",":
            return is_colour(after[0]) and (len(after) == 1 or after[1] in _BREAKS | {"and"})
        return word in {"a", "an"} or (word not in _STOPS and (is_colour(after[0]) or after[0] == ","))


def tokens(query: str) -> list[str]:
    """Lower-case words, full stops and commas of a query, compound spellings made one word, slips mended."""
    text = " ".join(query.lower().split()).replace("’", "'")
    for pattern, word in _SPELLINGS:
        text = pattern.sub(word, text)
    words = re.findall(r"[a-z0-9]+(?:[-'][a-z0-9]+)*|[.,]", text)
    return [_RESPELT.get(word, word) for word in words]


def of_one_person(words: list[str]) -> list[str]:
    """Leave out what is said of somebody else: "next to a woman in a red dress", "the other man wears blue"."""
    kept: list[str] = []
    i = 0
    while i < len(words):
        if (start := _somebody_else(words, i)) and not _PEOPLE.isdisjoint(kept):
            i = _end_of_aside(words, start, finite=words[i] != "other")
        else:
            kept.append(words[i])
            i += 1
    return kept


def mentions(words: list[str]) -> list[Mention]:
    """Every noun of the lexicon among `words`, in order, each with what is said of it."""
    # in "jean jacket" and "suit jacket" the first noun is an adjective of the second
    nouns = [i for i, word in enumerate(words) if word in _KIND_OF and not _is_adjective(words, i)]
    starts = [_start(words, i, floor) for i, floor in zip(nouns, [-1, *nouns], strict=False)]
    found: list[Mention] = []
    for n, (start, i) in enumerate(zip(starts, nouns, strict=True)):
        end = starts[n + 1] if n + 1 < len(nouns) else len(words)
        stop = next((j for j in range(i, end) if words[j] == "."), end)
        negated = _negated(words, start) or (words[start - 1] in {"or", "nor"} and bool(found) and found[-1].negated)
        negated |= words[i + 1 : stop][:2] in (["is", "none"], ["is", "no"], ["none"])  # "Bag: none."
        found.append(Mention(_KIND_OF[words[i]], words[i], words[start:i], words[i + 1 : stop], negated))
    return found


def colour_of(words: list[str]) -> str | None:
    """Canonical colour of a run of words: ["dark", "grey", "and", "navy"] -> "dark gray and dark blue"."""
    colours: list[str] = []
    shade = ""
    fabric = {"denim", "jean"} if sum(word in lexicon.COLOURS for word in words) > 1 else set()
    for word in words:
        if word in lexicon.SHADES:
            shade = lexicon.SHADES[word]
        elif word in lexicon.COLOURS and word not in fabric:
            colour = lexicon.COLOURS[word]
            colours.append(f"{shade} {colour}" if shade and not colour.startswith(("dark", "light")) else colour)
            shade = ""
    patterns = [lexicon.PATTERNS[word] for word in words if word in lexicon.PATTERNS]
    named = " and ".join(dict.fromkeys(colours)) or shade
    return " ".join(filter(None, (named, *dict.fromkeys(patterns)))) or None


def is_colour(word: str) -> bool:
    """Whether the word tells a colour, a shade or a pattern."""
    return word in lexicon.COLOURS or word in lexicon.PATTERNS or word in lexicon.SHADES


def _somebody_else(words: list[str], i: int) -> int:
    """Where the words behind "with a woman" or "the other man" begin, if such words stand at `i`; else 0."""
    if words[i] == "other":
        return i + 2 if words[i - 1] == "the" and words[i + 1 : i + 2] and words[i + 1] in _PEOPLE | {"one"} else 0
    if words[i] not in _BESIDE and "-".join(words[i - 1 : i + 1]) not in _BESIDE_PAIRS:
        return 0
    articles = {"a", "an", "another", "his", "her"} | ({"the"} if words[i] != "with" else set())
    if i + 1 >= len(words) or words[i + 1] not in articles:
        return 0
    for j in range(i + 2, len(words)):
        if words[j] in _STOPS or words[j] in _KIND_OF:
            return 0
        behind = words[j + 1] if j + 1 < len(words) else "."
        if words[j] in _PEOPLE and (behind in _STOPS or behind.endswith("ing")):  # not "with a man jacket"
            return j + 1
    return 0


def _end_of_aside(words: list[str], start: int, *, finite: bool) -> int:
    """Where words are the first person's again: a full stop, "he ...", a finite verb, a comma after company alone."""
    for j in range(start, len(words)):
        aside = words[start:j]
        if words[j] == ".":
            return j
        if finite and words[j] in _VERBS and not {"who", "that", "which"} & set(aside):
            return j
        if words[j - 1] == "," and (words[j] in _RESUMES or (finite and not any(word in _KIND_OF for word in aside))):
            return j
    return len(words)


def _start(words: list[str], noun: int, floor: int) -> int:
    """Where the noun phrase of `noun` begins, behind the noun at `floor`."""
    start = noun
    while start - 1 > floor and (words[start - 1] not in _STOPS or _joins(words, start - 1)):
        start -= 1
    return start


def _joins(words: list[str], i: int) -> bool:
    """Whether the "and" or comma at `i` joins two adjectives of one noun: "black and white", "long, straight"."""
    if words[i] not in {"and", ","} or not 0 < i < len(words) - 1:
        return False
    left, right = words[i - 1], words[i + 1]
    if left == ",":
        return words[i] == "and" and _joins(words, i - 1)
    if words[i] == "," and right == "and":
        right = words[i + 2] if i + 2 < len(words) else right
    shapes = lexicon.HAIR_LENGTHS.keys() | lexicon.HAIR_SHAPES.keys()
    if left in shapes:
        return right in shapes or (is_colour(right) and words[i] == ",")
    listed = words[i] == "and" or "and" in words[i + 1 : i + 3]  # "red, white and blue"
    return is_colour(left) and is_colour(right) and listed


def _is_adjective(words: list[str], i: int) -> bool:
    behind = words[i + 1] if i + 1 < len(words) else ""
    return behind in _KIND_OF and (_KIND_OF[behind] == _KIND_OF[words[i]] or words[i] in {"jeans", "suit", "paper"})


def _negated(words: list[str], start: int) -> bool:
    """Whether "no", "without a", "not carrying any" stand right before the noun phrase."""
    for word in reversed(words[max(0, start - 4) : start]):
        if word in _NOT:
            return True
        if word not in _UNDER_NOT:
            return False
    return False
