"""Rewrite queries without a language model: look up nouns in a lexicon, and read their colors from the words around."""

from __future__ import annotations

import re
from collections.abc import Sequence

from captioning import lexicon
from captioning.captioner import NO_CONTENT, Answer, AnswerStream
from captioning.rules.phrases import Mention, canonical_color, drop_other_people, find_mentions, tokenize
from captioning.style.template import Slots, render, with_article

_EMPTY_HANDS = re.compile(
    r"\b(?:empty[- ]handed|empty hands|(?:carr\w+|hold\w+|has|with) nothing"
    r"|nothing (?:is|was) (?:being )?(?:carried|held)|nothing in (?:his|her|their|both|the) hands?"
    r"|not? (?:carry|carrying|hold|holding) (?:anything|any|a thing)"
    r"|no (?:belongings|bags?|items|luggage))\b"
)
_ALL_IN = re.compile(r"\b(?:(?:dressed|clad|clothed)(?: all| entirely)? in|all(?: in)?) ([a-z-]+) (?:[.,]|from head)")
_PEOPLE = lexicon.GENDERS.keys() | {"person", "pedestrian", "individual", "child", "student"}
_PREPOSITIONS = frozenset({"with", "holding", "carrying", "of", "and"})
_YEARS = re.compile(
    rf"\b(\d{{1,3}}|{'|'.join(lexicon.NUMBERS)})(?:[- ](?:[a-z]+|(?:to |or )?\d+))?[- ]years?[- ](?:old|of age)\b"
    r"|\bage[d]?(?: is| about| around)? (\d{1,3})\b"
)
_GENERIC_SHOES = frozenset({"shoes", "shoe", "footwear"})
_AMBIGUOUS_AGES = frozenset({"little", "old", "older", "aged"})


class RulesRewriter:
    """Rewrites queries with the lexicon; deterministic, thousands of queries per second."""

    name = "rules 2"  # raise the number when rewrites change: journals then request every rewrite again

    def rewrite(self, queries: Sequence[str]) -> AnswerStream:
        """Yield `(position, answer)` in order; a query without any word of the lexicon gets a problem."""
        for position, query in enumerate(queries):
            slots = read(query)
            yield position, Answer(render(slots)) if slots else Answer(None, NO_CONTENT)


def read(query: str) -> Slots:
    """Read the slots from a free sentence about a person; a slot that it does not mention is None."""
    words = drop_other_people(tokenize(query))
    mentions = find_mentions(words)
    worn = {
        kind: [m for m in mentions if m.kind == kind and not m.negated] for kind in ("upper", "lower", "shoes", "hair")
    }
    upper_color, upper = _garment(worn["upper"], lexicon.UPPERS)
    lower_color, lower = _garment(worn["lower"], lexicon.LOWERS)
    shoe_color, shoes = _garment(worn["shoes"], lexicon.SHOES)
    hairstyle, hair_color = _hair(worn["hair"], words)
    match = _ALL_IN.search(" ".join([*words, "."]))
    overall_color = lexicon.COLORS.get(match[1]) if match else None  # "dressed all in black"
    return Slots(
        gender=_gender(words),
        upper_color=upper_color or overall_color,
        upper_garment=upper,
        lower_color=lower_color or overall_color,
        lower_garment=lower,
        shoe_color=shoe_color,
        shoes=shoes,
        hairstyle=hairstyle,
        hair_color=hair_color,
        age_group=_age(words),
        belongings=_belongings([m for m in mentions if m.kind == "carried"], words),
    )


def _garment(mentions: list[Mention], names: dict[str, str]) -> tuple[str | None, str | None]:
    """Return color and canonical name of the visible garment: an outer one, otherwise the first."""
    if not mentions:
        return None, None
    rank = {name: place for place, name in enumerate(lexicon.OUTER)}
    worn = min(mentions, key=lambda m: rank.get(names[m.noun], len(rank)))
    if worn.noun in _GENERIC_SHOES:  # "black shoes with high heels" are heels
        worn = next((m for m in mentions if names[m.noun] != "shoes"), worn)
    name = names[worn.noun]
    head = name.split()[-1]
    # later mentions of the same garment add details: "The top is ..."
    same = [worn] + [m for m in mentions if m.noun in _GENERIC_SHOES or names[m.noun].split()[-1] == head]
    color = next((m.color for m in same if m.color), None)
    if color is None:
        color = {"jeans": "blue", "khakis": "beige"}.get(worn.noun)
    sleeves = next((word for m in same for word in (*m.before, *m.after) if word in lexicon.SLEEVES), None)
    # "a long-sleeved t-shirt" is a long-sleeved top, although t-shirts usually are not
    return color, f"{sleeves} {head}" if sleeves else name


def _hair(mentions: list[Mention], words: list[str]) -> tuple[str | None, str | None]:
    """Return style and color of the hair."""
    runs = [(*m.before, m.noun, *m.after) for m in mentions]
    affirmed = [word for run in runs for previous, word in zip(("", *run), run, strict=False) if previous != "not"]
    length = next((lexicon.HAIR_LENGTHS[word] for word in affirmed if word in lexicon.HAIR_LENGTHS), None)
    shape = next((lexicon.HAIR_SHAPES[word] for word in affirmed if word in lexicon.HAIR_SHAPES), None)
    color = next((m.color for m in mentions if m.color), None)
    color = color or canonical_color([word for word in words if word in lexicon.HAIR_COLORS][:1])
    return " ".join(filter(None, (length, shape))) or None, color


def _gender(words: list[str]) -> str | None:
    gendered = [word for word in words if word in lexicon.GENDERS]
    nouns = [word for word in gendered if word not in lexicon.PRONOUNS]
    return lexicon.GENDERS[(nouns or gendered)[0]] if gendered else None


def _age(words: list[str]) -> str | None:
    if match := _YEARS.search(" ".join(words)):
        number = match[1] or match[2]
        years = lexicon.NUMBERS.get(number) or int(number)
        return next((age for limit, age in lexicon.AGE_LIMITS.items() if years < limit), None)
    for i, word in enumerate(words):
        if word not in lexicon.AGES or (i > 1 and words[i - 2] in _PREPOSITIONS):  # "with a child": another person
            continue
        following = words[i + 1 : i + 3]
        of_person = not following or following[0] in {".", ","} or any(other in _PEOPLE for other in following)
        if word not in _AMBIGUOUS_AGES or (of_person and words[i - 1] not in {"year", "years"}):
            return lexicon.AGES[word]
    return None


def _belongings(mentions: list[Mention], words: list[str]) -> str | None:
    colors: dict[str, str | None] = {}
    empty_handed = bool(_EMPTY_HANDS.search(" ".join(words)))
    for mention in mentions:
        name = lexicon.CARRIED[mention.noun]
        if mention.negated:
            empty_handed |= name not in lexicon.WORN_CARRIED
        else:
            colors[name] = colors.get(name) or mention.color
    if "bag" in colors and colors["bag"] is None and {"backpack", "handbag", "shoulder bag"} & colors.keys():
        del colors["bag"]  # a second mention of the same bag
    if not colors:
        return "nothing" if empty_handed else None
    *most, last = [_item(name, color) for name, color in colors.items()]
    return f"{', '.join(most)} and {last}" if most else last


def _item(name: str, color: str | None) -> str:
    phrase = f"{color} {name}" if color else name
    return phrase if name in lexicon.PLURAL_CARRIED else with_article(phrase)
