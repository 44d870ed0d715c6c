"""The style of every caption and rewrite: its template, the prompts for it, and checks of the replies."""

from captioning.style.prompts import PROMPT_VERSION, SCHEMA, Form, image_prompt, query_prompt
from captioning.style.replies import MAX_WORDS, NoJsonError, check, read_reply
from captioning.style.template import NEUTRAL, TEMPLATE, Slots, parse, render, with_article

__all__ = [
    "MAX_WORDS",
    "NEUTRAL",
    "PROMPT_VERSION",
    "SCHEMA",
    "TEMPLATE",
    "Form",
    "NoJsonError",
    "Slots",
    "check",
    "image_prompt",
    "parse",
    "query_prompt",
    "read_reply",
    "render",
    "with_article",
]
