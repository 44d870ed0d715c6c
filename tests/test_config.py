"""Settings: every shipped file loads, layers override each other, and each mistake is one line that names the key."""

from __future__ import annotations

import argparse
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import yaml

from configs.load import (
    FOLDER,
    add_config_arguments,
    config_text,
    flatten,
    load_config,
    parse_override,
    read_yaml,
    run_identity,
    upgrade_identity,
)
from configs.schema import SECTIONS
from utils.errors import UserError

SHIPPED = sorted(FOLDER.glob("*.yaml"))
DEMO = FOLDER / "demo.yaml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("preset", ["tiny", "base", "large"])
def test_every_shipped_config_loads_with_every_preset(path: Path, preset: str) -> None:
    """And its run folder is named after it."""
    config = load_config(path, [f"model.preset={preset}"])
    assert config.model.preset == preset
    assert config.run.dir == f"output/{path.stem}"


def test_each_data_set_has_a_config() -> None:
    """Its name is the name of the data set that it sets."""
    for path in SHIPPED:
        if path.stem != "base":
            assert load_config(path).data.name == path.stem


def test_every_key_of_base_is_explained_in_a_comment() -> None:
    """A comment on its own line, except for `epochs`, next to `rounds`, and a few whose names are clear."""
    lines = (FOLDER / "base.yaml").read_text().splitlines()
    bare = [line.split(":")[0].strip() for line in lines if re.match(r"  \w+:", line) and "#" not in line]
    assert set(bare) <= {"epochs", "batch_size", "weight_decay", "seed"}


def test_base_holds_every_key_of_the_schema_and_no_other() -> None:
    """Defaults are in one file only."""
    known = {f"{section}.{field.name}" for section, group in SECTIONS.items() for field in fields(group)}
    assert set(flatten(read_yaml(FOLDER / "base.yaml"))) == known
    assert all(field.default is MISSING for group in SECTIONS.values() for field in fields(group))


def test_layers_override_each_other_in_order(tmp_path: Path) -> None:
    """base < preset < file < --set: each value comes from the topmost layer that has it."""
    file = tmp_path / "own.yaml"
    file.write_text("model: {preset: tiny}\ntrain: {epochs: 3, lr: 1e-4}\n")
    config = load_config(file, ["train.lr=1e-5"])
    assert config.train.weight_decay == read_yaml(FOLDER / "base.yaml")["train"]["weight_decay"]
    assert config.train.batch_size == read_yaml(FOLDER / "presets" / "tiny.yaml")["train"]["batch_size"]
    assert config.train.epochs == 3
    assert config.train.lr == 1e-5


def test_a_preset_set_on_the_command_line_brings_its_values() -> None:
    """`--set model.preset=tiny` takes the tiny preset's rates, and a later --set still wins."""
    tiny = read_yaml(FOLDER / "presets" / "tiny.yaml")["train"]
    config = load_config(FOLDER / "cuhk_pedes.yaml", ["model.preset=tiny", "train.rounds=7"])
    assert config.train.lr == tiny["lr"]
    assert config.train.rounds == 7


def test_numbers_in_exponent_form_are_numbers() -> None:
    """YAML 1.1 would read 1e-5 as text."""
    for text, number in (("1e-5", 1e-5), ("2.5E3", 2500.0), ("-1e2", -100.0), (".5e1", 5.0), ("1.0e-5", 1e-5)):
        assert parse_override(f"train.lr={text}") == {"train": {"lr": number}}
    assert parse_override("run.dir=1e-5x") == {"run": {"dir": "1e-5x"}}
    assert load_config(DEMO, ["train.lr=1e-5"]).train.lr == 1e-5


def test_values_set_are_read_as_yaml() -> None:
    """Numbers, booleans, null, lists, and text with an equals sign."""
    config = load_config(
        DEMO,
        ["train.rounds=3", "model.fuse_padding=true", "train.clip_norm=null", "model.image_size=[64, 32]"]
        + ["data.root=a=b", "cluster.eps=0.5", "cluster.source_weight=0", "run.device=cuda:1"],
    )
    assert (config.train.rounds, config.model.fuse_padding, config.train.clip_norm) == (3, True, None)
    assert (config.model.image_size, config.data.root, config.cluster.eps) == ([64, 32], "a=b", 0.5)
    assert (config.cluster.source_weight, config.run.device) == (0.0, "cuda:1")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        # unknown keys, and the nearest known one
        ("train.epoch=3", r"unknown key train\.epoch in --set train\.epoch=3: did you mean train\.epochs\?"),
        ("train.bacth=3", r"unknown key train\.bacth in .*did you mean train\.batch_size\?"),
        ("trian.epochs=3", r"unknown key trian\.epochs in .*did you mean train\.epochs\?"),
        ("epochs=3", r"unknown key epochs in .*did you mean train\.epochs\?"),
        ("cluster.espilon=3", r"unknown key cluster\.espilon in "),
        ("model.preset.x=1", r"model\.preset"),
        ("train=3", r"train in --set train=3 is a section: set one of train\.rounds"),
        # no assignment, no value
        ("train.epochs", r"--set train\.epochs: expected section\.key=value"),
        ("=3", r"expected section\.key=value"),
        ("train.epochs=[", "the value is not valid YAML"),
        # wrong types
        ("train.epochs=many", r"train\.epochs='many' is not possible: it should be .*integer"),
        ("train.epochs=2.5", r"train\.epochs=2\.5 is not possible: it should be .*integer"),
        ("train.epochs=true", r"train\.epochs=True is not possible"),
        ("train.lr='1'", r"train\.lr='1' is not possible: it should be .*number"),
        ("data.root=null", r"data\.root=None is not possible: it should be .*string"),
        ("train.reinit_each_round=1", r"train\.reinit_each_round=1 is not possible: it should be .*boolean"),
        ("train.seed=", r"train\.seed=None is not possible"),
        # impossible values
        ("train.epochs=0", r"train\.epochs=0 is not possible: it should be greater than or equal to 1"),
        ("train.batch_size=1", r"train\.batch_size=1 .*greater than or equal to 2"),
        ("train.lr=0", r"train\.lr=0 .*greater than 0"),
        ("train.lr=.inf", r"train\.lr=inf .*finite"),
        ("train.lr=.nan", r"train\.lr=nan"),
        ("train.weight_decay=.nan", r"train\.weight_decay=nan"),
        ("train.weight_decay=.inf", r"train\.weight_decay=inf"),
        ("eval.msm_weight=1.5", r"eval\.msm_weight=1\.5 .*less than or equal to 1"),
        ("cluster.source_weight=1", r"cluster\.source_weight=1 .*less than 1"),
        ("cluster.eps=-1", r"cluster\.eps=-1 .*greater than 0 or 'auto'"),
        ("cluster.eps=big", r"cluster\.eps='big' .*number or 'auto'"),
        ("cluster.metric=cosine", r"cluster\.metric='cosine' .*'precomputed' or 'rows'"),
        ("model.preset=huge", r"model\.preset='huge' .*'tiny', 'base' or 'large'"),
        ("model.image_size=[64]", r"model\.image_size=\[64\] .*at least 2 items"),
        ("model.image_size=[64, 0]", r"model\.image_size=\[64, 0\] "),
        ("data.name=market", r"data\.name='market' .*'cuhk_pedes'"),
        ("run.device=tpu", r"run\.device='tpu' .*auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(override: str, message: str) -> None:
    """The problem, its source, and the known or allowed values."""
    with pytest.raises(UserError, match=message) as error:
        load_config(DEMO, [override])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: [", "not valid YAML"),
        ("- train", "not a mapping of sections to keys"),
        ("train: {epochz: 3}", r"unknown key train\.epochz in .*own\.yaml: did you mean train\.epochs\?"),
        ("train:", r"train in .*own\.yaml is a section"),
        ("model: 3", r"model in .*own\.yaml is a section"),
        ("model: {preset: [1]}", r"model\.preset=\[1\] is not possible"),
        ("5: 3", "unknown key 5"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    """Broken YAML, a list, an unknown key, an empty section."""
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_config(file)
    assert "\n" not in str(error.value)


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    """A folder and bytes that are not text are named, too."""
    with pytest.raises(UserError, match=r"no such config: .*demmo\.yaml: did you mean .*demo\.yaml\?"):
        load_config(FOLDER / "demmo.yaml")
    with pytest.raises(UserError, match="cannot read config"):
        load_config(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read config"):
        load_config(tmp_path / "bytes.yaml")


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    """Comments alone leave base.yaml and its preset as they are."""
    (tmp_path / "own.yaml").write_text("# nothing\n")
    config, preset = load_config(tmp_path / "own.yaml"), flatten(read_yaml(FOLDER / "presets" / "base.yaml"))
    expected = flatten(read_yaml(FOLDER / "base.yaml")) | preset | {"run.dir": "output/own"}
    assert flatten(config.to_dict()) == expected


@pytest.mark.parametrize("text", ["my photos #1", "42", "no", "2026-13-24", "a: b", "[x", "~user"])
def test_a_path_is_taken_literally(text: str) -> None:
    """Whatever YAML would make of it; null and quotes still mean what they mean."""
    assert load_config(DEMO, [f"run.dir={text}"]).run.dir == text
    assert load_config(DEMO, [f"run.dir='{text}'"]).run.dir == text
    assert load_config(DEMO, ["model.vocab=null"]).model.vocab is None


def test_a_saved_config_loads_as_it_was(tmp_path: Path) -> None:
    """The run folder's config.yaml gives the same config again, whatever the preset's values are."""
    config = load_config(DEMO, ["train.lr=1e-5", "data.root='a: b #c'", "model.image_size=[64, 32]"])
    (tmp_path / "config.yaml").write_text(config_text(config))
    assert load_config(tmp_path / "config.yaml") == config
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config.to_dict()


def test_settings_that_change_weights_make_another_run() -> None:
    """Speed and display do not; the rest of model, cluster and train, and the choice of the epoch, do."""
    run = run_identity(load_config(DEMO))
    for same in ("train.workers=3", "train.compile=true", "eval.k_test=3", "run.device=cpu", "model.offload=true"):
        assert run_identity(load_config(DEMO, [same])) == run
    # A run that was started when compilation still belonged to its identity resumes, too.
    assert upgrade_identity(run | {"train.compile": False}) == run
    for other in ("train.seed=7", "cluster.k1=9", "model.dropout=0.3", "eval.select=last", "train.paraphrase=0.1"):
        assert run_identity(load_config(DEMO, [other])) != run


def test_arguments_of_scripts() -> None:
    """--set takes several values and may be repeated; --config has a default."""
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    parsed = parser.parse_args(["--set", "a.b=1", "c.d=2", "--set", "e.f=3"])
    assert parsed.overrides == ["a.b=1", "c.d=2", "e.f=3"]
    assert Path(parsed.config) == Path("configs/demo.yaml")


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """PyYAML would drop the first value, or the first half of a section, without a word."""
    file = tmp_path / "twice.yaml"
    file.write_text("train: {epochs: 3}\nmodel: {preset: tiny}\ntrain: {lr: 1e-4}\n")
    with pytest.raises(UserError, match=r"twice\.yaml.*train stands twice.*line 3"):
        load_config(file)
    with pytest.raises(UserError, match="model"):
        load_config(DEMO, ["model={preset: tiny, preset: base}"])


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In every path of a config, and nowhere else in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_config(
        DEMO, ["data.root=~/data", "captions.others=[~/a, b~]", "run.dir=runs/~x", "model.init=~/w.pth"]
    )
    assert (config.data.root, config.model.init) == (f"{tmp_path}/data", f"{tmp_path}/w.pth")
    assert (config.captions.others, config.run.dir) == ([f"{tmp_path}/a", "b~"], "runs/~x")


def test_training_options_that_contradict_each_other_are_refused() -> None:
    """Nothing to train, or a loss of an encoder that is not trained."""
    with pytest.raises(UserError, match=r"train\.rounds=0 and train\.pretrain_epochs=0"):
        load_config(DEMO, ["train.rounds=0"])
    with pytest.raises(UserError, match=r"train\.text_text=0\.5 .*train\.freeze_text"):
        load_config(DEMO, ["train.text_text=0.5"])
    file = FOLDER / "cuhk_pedes.yaml"
    assert load_config(file, ["train.rounds=0", "train.pretrain_epochs=1"]).train.rounds == 0


def test_a_key_that_is_a_list_is_one_line(tmp_path: Path) -> None:
    """YAML allows it; no config has one."""
    (tmp_path / "odd.yaml").write_text("? [a, b]\n: c\n")
    with pytest.raises(UserError, match=r"odd\.yaml"):
        load_config(tmp_path / "odd.yaml")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("captions.dir", "x\udcff", "not UTF-8"),
        ("captions.others", "[x, 'y\0']", ""),
        ("run.dir", "x\ny", "control characters"),
        ("data.root", "x" * 5000, "too long"),
        ("captioner.model", "m\udcff", "not UTF-8"),
    ],
)
def test_texts_that_no_file_can_hold_are_refused(key: str, value: str, problem: str) -> None:
    """Before anything is done, in one line that names the key."""
    with pytest.raises(UserError, match=re.escape(key)) as caught:
        load_config(DEMO, [f"{key}={value}"])
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "key",
    [
        "train.batch_size",
        "train.workers",
        "train.epochs",
        "train.seed",
        "run.processes",
        "eval.batch_size",
        "cluster.k1",
    ],
)
def test_numbers_beyond_all_libraries_are_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"{key}=1{'0' * 20} is not possible: .*less than"):
        load_config(DEMO, [f"{key}=1{'0' * 20}"])


def test_an_image_side_of_a_million_pixels_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.image_size=.*4096"):
        load_config(DEMO, ["model.image_size=[1000000,1000000]"])
    with pytest.raises(UserError, match="it should have at least 2 items"):
        load_config(DEMO, ["model.image_size=[8]"])
