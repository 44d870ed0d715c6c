"""The query rewriter that needs no language model: nouns are looked up, and their colours are read off around them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from captioning import lexicon
from captioning.captioner import NO_CONTENT, Answer, AnswerStream
from captioning.phrases import Mention, colour_of, mentions, of_one_person, tokens
from captioning.style import Slots, render

_EMPTY_HANDS = re.compile(
    r"\b(?:empty[- ]handed|empty hands|(?:carr\w+|hold\w+|has|with) nothing"
    r"|nothing (?:is|was) (?:being )?(?:carried|held)|nothing in (?:his|her|their|both|the) hands?"
    r"|not? (?:carry|carrying|hold|holding) (?:anything|any|a thing)"
    r"|no (?:belongings|bags?|items|luggage))\b"
)
_ALL_IN = re.compile(r"\b(?:(?:dressed|clad|clothed)(?: all| entirely)? in|all(?: in)?) ([a-z-]+) (?:[.,]|from head)")
_PEOPLE = lexicon.GENDERS.keys() | {"person", "pedestrian", "individual", "child", "student"}
_WITH_SOMEBODY = frozenset({"with", "holding", "carrying", "of", "and"})
_YEARS = re.compile(
    rf"\b(\d{{1,3}}|{'|'.join(lexicon.NUMBERS)})(?:[- ](?:[a-z]+|(?:to |or )?\d+))?[- ]years?[- ](?:old|of age)\b"
    r"|\bage[d]?(?: is| about| around)? (\d{1,3})\b"
)
_ANY_SHOES = frozenset({"shoes", "shoe", "footwear"})
_AMBIGUOUS_AGES = frozenset({"little", "old", "older", "aged"})


class RulesRewriter:
    """Rewrites a query by the words of the lexicon; deterministic, thousands of queries a second."""

    name = "rules 2"  # another number where it reads the same sentence otherwise: journals ask anew

    def rewrite(self, queries: Sequence[str]) -> AnswerStream:
        """Yield `(position, answer)` in order; a query with no word of the lexicon gets a problem."""
        for position, query in enumerate(queries):
            slots = read(query)
            yield position, Answer(render(slots)) if slots else Answer(None, NO_CONTENT)


def read(query: str) -> Slots:
    """Read what a free sentence says of a person; what it does not mention stays None."""
    words = of_one_person(tokens(query))
    found = mentions(words)
    there = {
        kind: [m for m in found if m.kind == kind and not m.negated] for kind in ("upper", "lower", "shoes", "hair")
    }
    upper_color, upper = _garment(there["upper"], lexicon.UPPERS)
    lower_color, lower = _garment(there["lower"], lexicon.LOWERS)
    shoe_color, shoes = _garment(there["shoes"], lexicon.SHOES)
    hairstyle, hair_color = _hair(there["hair"], words)
    all_in = _all_in(words)
    return Slots(
        gender=_gender(words),
        upper_color=upper_color or all_in,
        upper_garment=upper,
        lower_color=lower_color or all_in,
        lower_garment=lower,
        shoe_color=shoe_color,
        shoes=shoes,
        hairstyle=hairstyle,
        hair_color=hair_color,
        age_group=_age(words),
        belongings=_belongings([m for m in found if m.kind == "carried"], words),
    )


def _garment(found: list[Mention], names: dict[str, str]) -> tuple[str | None, str | None]:
    """Colour and canonical name of the garment that is seen: an outer one, else the first."""
    if not found:
        return None, None
    order = {name: rank for rank, name in enumerate(lexicon.OUTER)}
    worn = min(found, key=lambda m: order.get(names[m.noun], len(order)))
    if worn.noun in _ANY_SHOES:  # "black shoes with high heels" are heels
        worn = next((m for m in found if names[m.noun] != "shoes"), worn)
    name = names[worn.noun]
    head = name.split()[-1]
    same = [worn] + [m for m in found if m.noun in _ANY_SHOES or names[m.noun].split()[-1] == head]  # "The top is ..."
    colour = next((m.colour for m in same if m.colour), None)
    if colour is None and worn.noun in {"jeans", "khakis"}:
        colour = "blue" if worn.noun == "jeans" else "beige"
    sleeves = next((word for m in same for word in (*m.before, *m.behind) if word in lexicon.SLEEVES), None)
    # "a long-sleeved t-shirt" is a long-sleeved top, whatever T-shirts mostly are
    return colour, f"{sleeves} {head}" if sleeves else name


def _hair(found: list[Mention], words: list[str]) -> tuple[str | None, str | None]:
    runs = [(*m.before, m.noun, *m.behind) for m in found]
    told = [word for run in runs for before, word in zip(("", *run), run, strict=False) if before != "not"]
    length = next((lexicon.HAIR_LENGTHS[word] for word in told if word in lexicon.HAIR_LENGTHS), None)
    shape = next((lexicon.HAIR_SHAPES[word] for word in told if word in lexicon.HAIR_SHAPES), None)
    colour = next((m.colour for m in found if m.colour), None)
    colour = colour or colour_of([word for word in words if word in lexicon.HAIR_COLOURS][:1])
    return " ".join(filter(None, (length, shape))) or None, colour


def _gender(words: list[str]) -> str | None:
    told = [word for word in words if word in lexicon.GENDERS]
    nouns = [word for word in told if word not in lexicon.PRONOUNS]
    return lexicon.GENDERS[(nouns or told)[0]] if told else None


def _age(words: list[str]) -> str | None:
    if match := _YEARS.search(" ".join(words)):
        number = match[1] or match[2]
        years = lexicon.NUMBERS.get(number) or int(number)
        return next((age for limit, age in lexicon.AGE_LIMITS if years < limit), None)
    for i, word in enumerate(words):
        if word not in lexicon.AGES or (i > 1 and words[i - 2] in _WITH_SOMEBODY):  # "with a child" tells no age
            continue
        following = words[i + 1 : i + 3]
        of_person = not following or following[0] in {".", ","} or any(other in _PEOPLE for other in following)
        if word not in _AMBIGUOUS_AGES or (of_person and words[i - 1] not in {"year", "years"}):
            return lexicon.AGES[word]
    return None


def _all_in(words: list[str]) -> str | None:
    """The one colour of "dressed all in black"."""
    match = _ALL_IN.search(" ".join([*words, "."]))
    return lexicon.COLOURS.get(match[1]) if match else None


def _belongings(found: list[Mention], words: list[str]) -> str | None:
    colours: dict[str, str | None] = {}
    empty = bool(_EMPTY_HANDS.search(" ".join(words)))
    for mention in found:
        name = lexicon.CARRIED[mention.noun]
        if mention.negated:
            empty |= name not in lexicon.WORN_CARRIED
        else:
            colours[name] = colours.get(name) or mention.colour
    if "bag" in colours and colours["bag"] is None and {"backpack", "handbag", "shoulder bag"} & colours.keys():
        del colours["bag"]  # it is the same one, told twice
    if not colours:
        return "nothing" if empty else None
    *most, last = [_thing(name, colour) for name, colour in colours.items()]
    return f"{', '.join(most)} and {last}" if most else last


def _thing(name: str, colour: str | None) -> str:
    phrase = f"{colour} {name}" if colour else name
    if name in lexicon.PLURAL_CARRIED:
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
