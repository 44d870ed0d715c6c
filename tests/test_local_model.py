"""Loading local models: the right ones, broken ones, and missing ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from captioning.local import LocalBackend, Prompt
from captioning.local.model import load_model
from captioning.style.prompts import query_prompt
from tests.captioner_options import captioner_options
from tests.pictures import picture
from tests.small_vlm import CAPTION, TEMPLATE, write_model
from utils.errors import UserError

Damage = Callable[[Path], object]


def test_a_model_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For captions and rewrites together; from safetensors, in float32 on the CPU."""
    loads: list[Any] = []
    real = AutoModelForImageTextToText.from_pretrained

    def load(*names: Any, **options: Any) -> Any:
        loads.append(options)
        return real(*names, **options)

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", load)
    options = captioner_options(model=str(write_model(tmp_path / "model", "qwen3_vl", tied=True)), max_tokens=2)
    images = [picture(tmp_path / "red.png")]
    for _ in range(2):
        assert len(list(LocalBackend(options, "cpu").describe(images))) == 1
        assert len(list(LocalBackend(options, "cpu").rewrite(["a man"]))) == 1
    assert len(loads) == 1
    assert loads[0]["dtype"] == torch.float32
    assert loads[0]["use_safetensors"]


def test_decoding_is_greedy(tmp_path: Path) -> None:
    """Whatever sampling and repetition penalty the generation config of a model sets."""
    folder = write_model(tmp_path / "model", "qwen2")
    prompts = [Prompt(query_prompt("text", query)) for query in ("red, or blue?", "what?")]
    replies = load_model(str(folder), "cpu", images=False).reply(prompts, 24)
    settings = folder / "generation_config.json"
    assert json.loads(settings.read_text())["repetition_penalty"] > 1
    settings.write_text(json.dumps({"eos_token_id": json.loads(settings.read_text())["eos_token_id"]}))
    plain = folder.rename(tmp_path / "plain")
    assert load_model(str(plain), "cpu", images=False).reply(prompts, 24) == replies


def test_thinking_is_no_part_of_a_rewrite(tmp_path: Path) -> None:
    """With a template that opens it, or with one that can switch it off."""

    def rewrite(reply: tuple[str, ...], ending: str) -> str | None:
        folder = write_model(tmp_path / "model", "qwen2", reply=reply, template=TEMPLATE + ending)
        model = folder.rename(tmp_path / f"model {len(ending)}")
        [(_, answer)] = LocalBackend(captioner_options(model=str(model)), "cpu").rewrite(["red"])
        return answer.text

    assert rewrite(("red, I think", "</think>", *CAPTION), "<think>\n") == "".join(CAPTION)
    choice = "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
    assert rewrite(CAPTION, choice) == "".join(CAPTION)


def without(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def configured(**changes: Any) -> Damage:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def without_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"][:3].clone()
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (without("config.json"), "cannot be loaded .*model_type"),
        (configured(model_type="unheard_of"), "cannot be loaded .*`unheard_of`"),
        (configured(model_type="unheard_of", auto_map={"AutoConfig": "code.Config"}), "cannot be loaded .*custom code"),
        (configured(text_config={"hidden_size": "many"}), "cannot be loaded .*hidden_size"),
        (configured(model_type="bert"), r"accepts no images \(bert "),
        (without("model.safetensors"), "cannot be loaded .*no file named model.safetensors"),
        (pickled, "cannot be loaded .*no file named model.safetensors"),
        (without_weights, "weights are missing .*: lm_head.weight and 1 more"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "cannot be loaded .*header"),
        (without("processor_config.json"), "cannot be loaded .*image processor"),
        (without("tokenizer.json"), "tokenizer.json is missing"),
        (without("chat_template.jinja"), "it has no chat template"),
        (lambda folder: (folder / "chat_template.jinja").write_text("{% for %}"), "cannot be loaded .*Expected"),
        (lambda folder: (folder / "chat_template.jinja").write_text("hello"), "its chat template drops"),
    ],
)
def test_a_model_that_cannot_be_used_is_named_in_one_line(damage: Damage, cause: str, tmp_path: Path) -> None:
    """With the reason; no weight is random, no code of a model is run, nothing is unpickled."""
    folder = write_model(tmp_path / "damaged", "qwen2_5_vl")
    damage(folder)
    with pytest.raises(UserError, match=f"captioner.model: '{folder}' .*{cause}") as error:
        list(LocalBackend(captioner_options(model=str(folder)), "cpu").describe([tmp_path / "any.png"]))
    assert "\n" not in str(error.value)


def test_a_missing_model_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name, no folder, not on the hub; and a model for text alone cannot describe images."""
    with pytest.raises(UserError, match=r"captioner\.model is not set: .* Qwen/Qwen2\.5-VL-7B-Instruct"):
        LocalBackend(captioner_options(), "cpu")
    for missing in (str(tmp_path / "gone"), "./gone", "models/qwen/gone"):
        with pytest.raises(UserError, match=f"captioner.model: '{missing}' cannot be used: there is no such folder"):
            load_model(missing, "cpu", images=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"captioner\.model: 'nobody/nothing' cannot be loaded .*connect"):
        load_model("nobody/nothing", "cpu", images=False)
    blind = str(write_model(tmp_path / "blind", "qwen2", tied=True))
    assert load_model(blind, "cpu", images=False)
    with pytest.raises(UserError, match=r"accepts no images \(qwen2 "):
        load_model(blind, "cpu", images=True)
