"""The local back end with small models of real classes: prompts, batches, failures and lack of memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import GenerationMixin

from captioning.captioner import Answer, Reply
from captioning.local import LocalBackend, open_ahead
from captioning.local.model import LocalModel
from captioning.options import CaptionerOptions
from data.images import open_image as real_open_image
from tests.captioner_options import captioner_options
from tests.small_vlm import CAPTION, Family, write_model
from utils.errors import UserError

TEXT = "The person is wearing a red coat with blue trousers."
SEEING: tuple[Family, ...] = ("qwen2_5_vl", "qwen3_vl")
SIZES = ((64, 128), (40, 100), (1, 1), (3, 3), (1, 3), (200, 90), (10, 1900))  # width, height
SORRY = ("I'm sorry,", " I can't", " help with that.")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Models by family and reply, each written once."""
    known: dict[Any, Path] = {}

    def folder(family: Family, reply: tuple[str, ...] | None = CAPTION, **options: Any) -> Path:
        key = (family, reply, *options.items())
        if key not in known:
            known[key] = write_model(tmp_path_factory.mktemp("models") / family, family, reply=reply, **options)
        return known[key]

    return folder


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    """Noise in many sizes, down to one pixel, and up to the largest aspect ratio that is accepted."""
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(len(SIZES))]
    for path, (width, height) in zip(paths, SIZES, strict=True):
        Image.fromarray(random.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
    return paths


def service(folder: Path, **changes: Any) -> CaptionerOptions:
    return captioner_options(model=str(folder), max_tokens=16, stop_after=99, batch_size=4, **changes)


def backend(options: CaptionerOptions) -> LocalBackend:
    return LocalBackend(options, "cpu")


def settled(answers: Iterator[tuple[int, Answer]]) -> list[Answer]:
    """Answers by position, each of which must come once, without their duration."""
    found = list(answers)
    assert sorted(position for position, _ in found) == list(range(len(found)))
    return [replace(answer, seconds=0) for _, answer in sorted(found, key=lambda pair: pair[0])]


def watch(monkeypatch: pytest.MonkeyPatch, before: Callable[[Any, int], None]) -> None:
    """Call `before(inputs, size of the batch)` in front of each generation by the real model."""
    real = GenerationMixin.generate

    def generate(model: Any, **inputs: Any) -> Any:
        before(inputs, len(inputs["input_ids"]))
        return real(model, **inputs)

    monkeypatch.setattr(GenerationMixin, "generate", generate)


@pytest.mark.parametrize("family", SEEING)
def test_photographs_are_described(family: Family, folders: Callable[..., Path], photographs: list[Path]) -> None:
    """By a model that is loaded from its folder; its name does not contain the path."""
    captioner = backend(service(folders(family)))
    assert captioner.name == f"local:{family}"
    answers = dict(captioner.describe(photographs))
    assert {answer.text for answer in answers.values()} == {TEXT}
    assert all(answer.problem == answer.said == "" and answer.seconds > 0 for answer in answers.values())
    assert {answer.reply_tokens for answer in answers.values()} == {4}  # three pieces and the end
    patch = 28 if family == "qwen2_5_vl" else 32
    grown = {place: round(SIZES[place][0] / patch) * round(SIZES[place][1] / patch) for place in (0, 5)}
    assert answers[5].prompt_tokens - answers[0].prompt_tokens == grown[5] - grown[0]


@pytest.mark.parametrize("family", [*SEEING, "qwen2"])
def test_queries_are_rewritten(family: Family, folders: Callable[..., Path]) -> None:
    """By an image-text model as well as by one for text alone."""
    rewriter = backend(service(folders(family)))
    assert rewriter.name == f"local:{family}"
    answers = settled(rewriter.rewrite(["a man in red", "somebody"]))
    assert [answer.text for answer in answers] == [TEXT, TEXT]


@pytest.mark.parametrize("family", SEEING)
def test_replies_do_not_depend_on_the_batch(
    family: Family, folders: Callable[..., Path], photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the lengths of the other prompts.

    Random weights give random replies, so that unfit ones are compared as well.
    """
    free = service(folders(family, None))
    sizes: list[int] = []
    watch(monkeypatch, lambda inputs, size: sizes.append(size))
    alone = settled(backend(replace(free, batch_size=1)).describe(photographs))
    assert len({answer.said or answer.text for answer in alone}) > len(photographs) // 2, (
        "the replies do not depend on the images"
    )
    for size in (3, 16):
        assert settled(backend(replace(free, batch_size=size)).describe(photographs)) == alone
    assert sizes == [1] * 7 + [3, 3, 1] + [7]


@pytest.mark.parametrize("family", [*SEEING, "qwen2"])
def test_rewrites_do_not_depend_on_the_batch(family: Family, folders: Callable[..., Path]) -> None:
    """Special tokens in a query are replaced by spaces, so that they cannot end the turn."""
    free = service(folders(family, None, tied=True))
    queries = ["a man", "a woman in a long green coat with a white bag and an umbrella", "a <|im_end|>b<|image_pad|>"]
    together = settled(backend(free).rewrite(queries))
    assert settled(backend(replace(free, batch_size=1)).rewrite(queries)) == together
    assert len({answer.said or answer.text for answer in together}) == 3
    assert settled(backend(free).rewrite(["a  b "])) == together[2:]


def test_image_tokens_get_two_dimensional_positions(
    folders: Callable[..., Path], photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qwen numbers rows and columns of patches; without the token types, it would treat them as a line of text."""
    seen: list[torch.Tensor] = []
    watch(monkeypatch, lambda inputs, size: seen.append(inputs["mm_token_type_ids"]))
    list(backend(service(folders("qwen2_5_vl"))).describe(photographs[:2]))
    assert seen[0].sum(dim=1).tolist() == [10, 4]  # 2 x 5 and 1 x 4 patches of 28 pixels


@pytest.mark.parametrize("count", [0, 1, 11])
def test_each_photograph_is_answered_once(count: int, folders: Callable[..., Path], photographs: list[Path]) -> None:
    """With no batch, one, and more than two; and each query too."""
    images = (photographs * 2)[:count]
    answers = settled(backend(service(folders("qwen2_5_vl"))).describe(images))
    assert [answer.text for answer in answers] == [TEXT] * count
    answers = settled(backend(service(folders("qwen2"))).rewrite(["a man"] * count))
    assert [answer.text for answer in answers] == [TEXT] * count


def test_a_broken_photograph_does_not_affect_the_others(
    folders: Callable[..., Path], photographs: list[Path], tmp_path: Path
) -> None:
    """Cut short, missing, or too narrow for the processor: its problem names it, and the run goes on."""
    cut, narrow = tmp_path / "cut.png", tmp_path / "narrow.png"
    cut.write_bytes(photographs[0].read_bytes()[:500])
    Image.new("RGB", (1, 300)).save(narrow)
    images = [photographs[0], cut, narrow, tmp_path / "gone.png", photographs[1]]
    answers = settled(backend(service(folders("qwen2_5_vl"))).describe(images))
    assert [answer.text for answer in answers] == [TEXT, None, None, None, TEXT]
    assert all(str(path) in answer.problem for path, answer in zip(images[1:4], answers[1:4], strict=True))
    assert "1 x 300 pixels: too narrow" in answers[2].problem
    strict = replace(service(folders("qwen2_5_vl")), stop_after=1)
    assert len(settled(backend(strict).describe(images[1:4]))) == 3


def test_large_photographs_are_scaled_down(photographs: list[Path]) -> None:
    """To at most `max_pixels`, with their aspect ratio kept; smaller ones are unchanged."""
    images = list(open_ahead(photographs, max_pixels=5000, ahead=2))
    sizes = [image.size for image in images if isinstance(image, Image.Image)]
    assert sizes == [(50, 100), *SIZES[1:5], (105, 47), (5, 974)]


def test_slots_are_requested_as_json(folders: Callable[..., Path], photographs: list[Path]) -> None:
    """With form "json"; a reply that is not JSON is a problem, and "auto" requests the filled template."""
    slots = ('{"gender": "female",', ' "upper_color": "red",', ' "upper_garment": "coat", "hair_color": null}')
    options = replace(service(folders("qwen2_5_vl", slots)), format="json")
    [answer] = settled(backend(options).describe(photographs[:1]))
    assert answer.text == "The female is wearing a red coat."
    [answer] = settled(backend(replace(options, model=str(folders("qwen2")))).rewrite(["a man"]))
    assert answer.text is None
    assert answer.problem.startswith("no JSON object")
    assert answer.said == TEXT
    forms = [settled(backend(replace(options, format=form)).rewrite(["a man"])) for form in ("auto", "text", "json")]
    assert forms[0] == forms[1] != forms[2]


def test_a_reply_that_is_cut_off_is_unfit(folders: Callable[..., Path], photographs: list[Path]) -> None:
    """Even if its beginning would be accepted."""
    short = replace(service(folders("qwen2_5_vl")), max_tokens=2)
    [answer] = settled(backend(short).describe(photographs[:1]))
    assert answer.text is None
    assert answer.problem == "cut short at captioner.max_tokens=2"
    assert (answer.said, answer.reply_tokens) == ("The person is wearing a red coat", 2)


def test_unfit_answers_alone_stop_the_run(
    folders: Callable[..., Path], photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After too many in a row, all of which are handed out before."""
    monkeypatch.setattr("captioning.captioner._UNFIT_FACTOR", 1)
    refusing = replace(service(folders("qwen2_5_vl", SORRY)), stop_after=6)
    answers: list[tuple[int, Answer]] = []
    with pytest.raises(
        UserError, match=r"8 failures in a row .*captioner\.stop_after=6.*: refusal .*I'm sorry"
    ) as error:
        answers.extend(backend(refusing).describe(photographs * 3))
    assert "\n" not in str(error.value)
    assert [answer.problem for _, answer in answers] == ["refusal"] * 8
    assert len(settled(backend(replace(refusing, stop_after=4)).rewrite(["red"] * 3))) == 3


def test_a_fit_answer_restarts_the_count(folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unfit answers are counted from the last fit one on; the replies are given by the test."""
    replies = iter([SORRY[0], SORRY[0], TEXT, SORRY[0], SORRY[0], TEXT, SORRY[0], SORRY[0], SORRY[0], SORRY[0]])
    monkeypatch.setattr(
        LocalModel, "reply", lambda self, prompts, most: [Reply(next(replies), 9, 9, True) for _ in prompts]
    )
    monkeypatch.setattr("captioning.captioner._UNFIT_FACTOR", 1)
    options = replace(service(folders("qwen2")), batch_size=2, stop_after=3)
    problems: list[str] = []
    rewritten = backend(options).rewrite([f"a man {number}" for number in range(20)])
    with pytest.raises(UserError, match="4 failures in a row"):
        problems.extend(answer.problem for _, answer in rewritten)
    assert len(problems) == 10


def test_batches_shrink_where_memory_runs_out(
    folders: Callable[..., Path], photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are halved, and stay small. The lack of memory for more than two is simulated."""
    sizes: list[int] = []

    def small(inputs: Any, size: int) -> None:
        sizes.append(size)
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    watch(monkeypatch, small)
    options = replace(service(folders("qwen2_5_vl")), batch_size=8)
    answers = settled(backend(options).describe(photographs * 2))
    assert [answer.text for answer in answers] == [TEXT] * 14
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2]


def test_a_photograph_too_large_for_the_memory_is_a_single_failure(
    folders: Callable[..., Path], photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are described."""

    def small(inputs: Any, size: int) -> None:
        if len(inputs["pixel_values"]) > 80:
            raise torch.OutOfMemoryError("CUDA out of memory")

    watch(monkeypatch, small)
    answers = settled(backend(service(folders("qwen2_5_vl"))).describe(photographs))
    assert [answer.text for answer in answers] == [TEXT] * 5 + [None, None]
    assert "lower captioner.max_pixels" in answers[5].problem


def test_photographs_are_opened_while_the_model_works(
    folders: Callable[..., Path], photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the next batch and no more, so that memory does not grow with their number."""
    opened = threading.Semaphore(0)
    count, most = 0, list[bool]()

    def open_image(path: Path) -> Image.Image:
        opened.release()
        return real_open_image(path)

    def wait_for_next(inputs: Any, size: int) -> None:
        nonlocal count
        for _ in range(8 if count == 0 else size):
            assert opened.acquire(timeout=30), "the next batch is not opened"
        count += size
        most.append(opened.acquire(timeout=0))

    monkeypatch.setattr("captioning.local.open_image", open_image)
    watch(monkeypatch, wait_for_next)
    images = photographs * 4
    described = backend(service(folders("qwen2_5_vl"))).describe(images)
    for _ in range(4 * 4):
        next(described)
    assert most == [False] * 4
    described.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("photographs")]


def test_nothing_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    """Neither a model nor transformers, for the name or for no images."""
    program = (
        "import sys; from captioning.local import LocalBackend; from tests.captioner_options import captioner_options\n"
        f"captioner = LocalBackend(captioner_options(model={str(tmp_path / 'gone')!r}), 'cpu')\n"
        "print(captioner.name, list(captioner.describe([])), {'torch', 'transformers'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "local:gone [] set()\n"
