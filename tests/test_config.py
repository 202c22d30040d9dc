"""The configuration says what it means, and says so when it does not."""

import re
import subprocess
import sys

import pytest
import yaml

from hmdb_lib import config
from hmdb_lib.environment import ROOT
from hmdb_lib.errors import UserError


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["data.frmes=3"], "command line: data.frmes=3 is not a setting; the nearest is data.frames"),
        (["frames=3"], "the nearest is data.frames"),
        (["data.frames=many"], 'command line: data.frames="many" should be a valid integer'),
        (["data.frames=true"], "data.frames=true should be a valid integer"),
        (["data.frames=0"], "data.frames=0 should be greater than or equal to 1"),
        (["train.lr=-1"], "train.lr=-1 should be greater than 0"),
        (["model=r2plus1d_81"], "the nearest is r2plus1d_18"),
        (["model.head=perciever"], "the nearest is perceiver"),
        (
            ["model=s3d", "model.blocks=4"],
            "blocks=4 goes with r2plus1d_18, r2plus1d_34, r3d_18, mc3_18, efficientnet_lite0, not with s3d",
        ),
        (["data.frame_step=2"], "give exactly one of clip_seconds and frame_step"),
        (["data.clip_seconds=null"], "give exactly one of clip_seconds and frame_step"),
        (["data.clip_seconds=0"], "clip_seconds=0 should be greater than 0"),
        (["data.clip_seconds=.inf"], "clip_seconds=Infinity should be a finite number"),
        (["data.clip_seconds=null", "data.frame_step=-2"], "frame_step=-2 should be greater than 0"),
        (["data.clip_seconds=null", "data.frame_step=.nan"], "frame_step=NaN should be"),
        (["data.crop=500"], "crop=500 does not fit"),
        (["bassline"], "the nearest is baseline"),
        (["row=bassline"], "the nearest is baseline"),
        (["data=[1"], "is not valid YAML"),
    ],
)
def test_a_wrong_key_or_value_is_told_in_one_line(overrides, told):
    with pytest.raises(UserError) as error:
        config.load(overrides=overrides)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_told_with_its_path(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot be read"):
        config.load(file=tmp_path / "nowhere.yaml")


def test_a_typo_in_the_file_is_told_with_the_nearest_key(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(config.CONFIG.read_text().replace("  epochs:", "  epoch:", 1))
    with pytest.raises(UserError, match=r"train\.epoch=30 is not a setting; the nearest is train\.epochs"):
        config.load(overrides=["data=hmdb51"], file=file)


def test_a_small_float_without_a_point_is_a_number():
    assert config.load(overrides=["train.lr=1e-4"]).train.lr == 1e-4


def test_a_section_alone_stands_for_its_first_key():
    chosen = config.load(overrides=["data=folder", "model=r3d_18"])
    assert (chosen.data.dataset, chosen.model.backbone) == ("folder", "r3d_18")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("train: {lr: 2.0e-4}", "model.backbone", "efficientnet_lite0"),  # as without the file
        ("train: {epochs: 50}", "train.epochs", 50),  # the file's own win
        ("model: {backbone: r3d_18}", "model.frozen", 0),  # a backbone that is asked for trains
        ("{rows: {mine: {question: What?, perceiver.latents: 3}}}", "data.frames", 8),
    ],
)
def test_a_part_of_a_configuration_leaves_the_sample_sizes_as_they_are(tmp_path, part, key, value):
    (tmp_path / "part.yaml").write_text(part)
    assert config.load(overrides=["data=sample"], file=tmp_path / "part.yaml").flat()[key] == value


def test_a_part_of_a_configuration_leaves_quick_runs_quick(tmp_path):
    (tmp_path / "part.yaml").write_text("train: {lr: 1.0e-3, epochs: 50}")
    assert config.load(overrides=["quick=true"], file=tmp_path / "part.yaml").train.epochs == 2


def test_a_part_of_a_configuration_is_no_record_of_before(tmp_path):
    (tmp_path / "part.yaml").write_text("model: {head: perceiver}\nperceiver: {train_cross: false}")
    assert config.load(file=tmp_path / "part.yaml").perceiver.start == config.load().perceiver.start


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["row=5"], "row=5 is no name of a row"),
        (["row=[baseline]"], "is no name of a row"),
        (["model=[r3d_18]"], "model.backbone"),
        (["seed=4294967296"], "seed=4294967296"),
    ],
)
def test_a_value_of_another_kind_is_told(words, told):
    with pytest.raises(UserError, match=re.escape(told)):
        config.load(overrides=words)


@pytest.mark.parametrize("part", ["rows:", "tables:", "rows: {mine: }"])
def test_parts_of_a_file_may_be_empty(tmp_path, part):
    (tmp_path / "part.yaml").write_text(part)
    assert config.load("mine" if "mine" in part else None, file=tmp_path / "part.yaml").model == config.load().model
    assert "cross1_self1" in config.list_rows(file=tmp_path / "part.yaml")


def test_the_row_that_a_file_names_is_applied(tmp_path):
    text = config.CONFIG.read_text().replace("row: cross1_self1", "row: baseline")
    (tmp_path / "config.yaml").write_text(text)
    assert config.load(file=tmp_path / "config.yaml") == config.load("baseline")


def test_two_rows_are_refused():
    with pytest.raises(UserError, match=r"two rows are asked for, cross1_self1 and .baseline.; give one"):
        config.load("cross1_self1", ["row=baseline"])


def test_a_home_folder_of_nobody_is_told():
    with pytest.raises(UserError, match=r"data\.root=\"~nobody.*begins with ~ and a name that is no user's here"):
        config.load(overrides=["data=folder", "data.root=~nobody-of-this-name/videos"])


def test_the_sample_sizes_apply_only_when_the_sample_is_used():
    assert config.load(overrides=["data=sample"]).data.frames == 8
    assert config.load(overrides=["data=hmdb51"]).data.frames == 16


@pytest.mark.parametrize(
    ("row", "overrides", "frozen"),
    [
        ("cross1_self1", [], True),
        ("bert", ["data.frames=16"], True),
        ("cross1_self1", ["model=r2plus1d_18", "model.frozen=all"], True),
        ("cross1_self1", ["quick=true"], False),
        ("cross1_self1", ["model.frozen=0"], False),
        ("blocks4_cross1_self6", [], False),
        ("as_published", [], False),
        ("masked_hybrid", [], False),
        ("cross1_self1", ["train.mixup=0.8"], False),
    ],
)
def test_heads_train_on_the_samples_frozen_tokens_where_nothing_is_said_of_the_backbone(row, overrides, frozen):
    assert config.load(row, ["data=sample", *overrides]).frozen == frozen


@pytest.mark.parametrize(
    ("overrides", "width"),
    [
        ([], 0.25),
        (["model=r2plus1d_34"], 0.25),
        (["model.width=1"], 1),
        (["model.width=1", "model.pretrained=kinetics400"], 1),
        (["model=videomae_small"], 1),
        (["model.frozen=all", "data=sample"], 1),
    ],
)
def test_a_quick_run_has_a_quarter_of_a_resnets_channels(overrides, width):
    assert config.load(overrides=["quick=true", "data=sample", *overrides]).model.width == width


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train: {lr: 0.1}\nmodel: {head: gru}\ntrain: {epochs: 3}\n", "train stands twice, join both .*line 3"),
        ("1: x\n", "1=.* is not a setting"),
        ("yes: 3\n", "True=3 is not a setting"),
        ("data: 5\n", "data=5: expected lines of 'key: value' below data"),
        ("data: {2: 5}\n", "data.2=5 is not a setting"),
    ],
)
def test_what_a_file_cannot_mean_is_told_in_a_line(tmp_path, text, told):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=told):
        config.load(file=tmp_path / "own.yaml")


def test_the_command_line_wins_over_row_and_sample_sizes():
    assert config.load("baseline", ["model.head=bert", "data.frames=4"]).flat().items() >= {
        ("model.head", "bert"),
        ("data.frames", 4),
    }


def test_a_run_can_be_repeated_from_its_saved_configuration(tmp_path):
    file = tmp_path / "config.yaml"
    first = config.load("baseline", ["seed=3", "quick=true"])
    file.write_text(first.to_yaml())
    assert config.load(file=file) == first


@pytest.mark.parametrize("row", config.rows())
def test_every_row_is_valid_asks_a_question_and_differs_only_in_known_keys(row):
    config.load(row)
    assert config.find_row(row)["question"].endswith("?")


def test_every_row_of_a_table_exists():
    assert {row for table in config.tables().values() for row in table["rows"]} <= set(config.rows())
    assert not config.tables().keys() & config.rows().keys(), "a study could not tell which is meant"


# Keys in which every row may differ from another: its name.
OWN = {"row"}


@pytest.mark.parametrize("name", config.tables())
def test_rows_of_a_table_differ_in_the_keys_that_its_caption_names_and_in_no_other(name):
    table = config.tables()[name]
    first, *others = (config.load(row, ["data=hmdb51"]).flat() for row in table["rows"])
    differing = {key for key in first if any(row[key] != first[key] for row in others)}
    exceptions = table.get("besides", {})
    assert differing - OWN == {*table["varies"], *(key for keys in exceptions.values() for key in keys)}
    assert all(reason.strip() for reason in exceptions), "each exception has its reason"


@pytest.mark.parametrize("name", config.tables())
def test_all_that_a_table_says_of_its_rows_is_of_rows_that_it_has(name):
    table = config.tables()[name]
    assert table.keys() <= {"rows", "varies", "besides", "against", "judged", "note"}
    against = table.get("against", {})
    assert {*against, *table.get("judged", {}), *(row for rows in against.values() for row in rows)} <= {*table["rows"]}


@pytest.mark.parametrize("name", ["longer", "denser", "compared"])
def test_rows_are_held_against_a_row_of_equal_seconds_and_equal_frame_rate(name):
    for reference, rows in config.tables()[name]["against"].items():
        spans = {(row.data.frames, row.data.clip_seconds) for row in map(config.load, [reference, *rows])}
        assert len(spans) == 1


def test_longer_keeps_the_frame_rate_and_denser_the_seconds():
    longer, denser = (
        [config.load(row, ["data=hmdb51"]).data for row in config.tables()[t]["rows"]] for t in ("longer", "denser")
    )
    assert {data.frames / data.clip_seconds for data in longer} == {8.0}
    assert {data.clip_seconds for data in denser} == {2.0}


def test_the_old_name_of_a_row_still_works_and_the_new_one_is_told_once(capsys):
    config.now_called.cache_clear()
    assert config.load("hybrid_32frames") == config.load("cross1_self1_4seconds")
    assert list(config.list_rows("bert_64frames")) == ["bert_8seconds"]
    assert config.load(overrides=["row=hybrid_32frames"]).row == "cross1_self1_4seconds"
    assert capsys.readouterr().err.splitlines() == [
        "hybrid_32frames is now called cross1_self1_4seconds",
        "bert_64frames is now called bert_8seconds",
    ]


def test_every_line_of_config_yaml_is_commented():
    settings = config.CONFIG.read_text().partition("when_sample:")[0]
    lines = [line for line in settings.splitlines() if ": " in line]
    assert [line for line in lines if "#" not in line] == []


def test_config_yaml_holds_every_key():
    tree = yaml.safe_load(config.CONFIG.read_text())
    assert {key for key in tree if not key.startswith("when_")} == set(config.Config.model_fields)


def test_the_command_ends_in_exit_code_2_without_a_traceback():
    done = subprocess.run(
        [sys.executable, "train.py", "data.frmes=3"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: command line: data.frmes=3 is not a setting; the nearest is data.frames\n"


def test_help_lists_rows_and_keys():
    done = subprocess.run([sys.executable, "train.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(row in done.stdout for row in config.rows())
    assert "clip_seconds:" in done.stdout


def test_a_file_that_is_older_than_a_key_gets_the_keys_value_of_today(tmp_path):
    older = tmp_path / "config.yaml"
    older.write_text("\n".join(line for line in config.load().to_yaml().splitlines() if "checkpointing" not in line))
    assert config.load(file=older) == config.load()


@pytest.mark.parametrize(("row", "start"), [("cross1_self1", "published"), ("baseline", "centred")])
def test_a_record_of_before_the_start_could_be_chosen_keeps_the_start_that_its_attention_had(row, start, tmp_path):
    older = tmp_path / "config.yaml"
    older.write_text("\n".join(line for line in config.load(row).to_yaml().splitlines() if "  start:" not in line))
    assert config.load(file=older).perceiver.start == start


def test_auto_means_hmdb51_where_its_videos_are_and_the_sample_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_DATA", str(tmp_path))
    assert config.load().data.dataset == "sample"
    (tmp_path / "hmdb51" / "videos").mkdir(parents=True)
    assert config.load().data.dataset == "hmdb51"


def test_the_old_name_of_a_key_still_works_and_the_new_one_is_told_once(tmp_path, capsys):
    config.now_called.cache_clear()
    file = tmp_path / "config.yaml"
    file.write_text("train:\n  optimiser: sgd\n")
    assert config.load(file=file).train.optimizer == "sgd"
    assert config.load(overrides=["train.optimiser=adam"]).train.optimizer == "adam"
    assert capsys.readouterr().err == "train.optimiser is now called train.optimizer\n"


def model_of(row=None, overrides=(), file=config.CONFIG):
    """The architecture of an experiment on HMDB51."""
    return config.load(row, ["data=hmdb51", *overrides], file).architecture()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["model=hybrid", "hybrid.latents=16"], ["perceiver.latents=16"]),
        (["model=r2plus1d", "model.depth=34"], ["model=r2plus1d_34", "model.head=pool"]),
        (["model.name=bert", "model.blocks=8"], ["model.head=bert"]),
        (["model.name=videomae"], ["model=videomae_small", "model.head=pool", "pool.norm=true"]),
        (["model=videomae", "videomae.variant=base"], ["model=videomae_base", "model.head=pool", "pool.norm=true"]),
    ],
)
def test_the_old_names_of_an_architecture_give_the_same_model(old, new):
    assert model_of(overrides=old) == model_of(overrides=new)


def test_the_new_names_of_an_architecture_are_told_once(capsys):
    config.now_called.cache_clear()
    for _ in range(2):
        config.load(overrides=["model=videomae", "videomae.variant=base", "hybrid.cross=2"])
    assert capsys.readouterr().err.splitlines() == [
        "videomae.variant is now called model.backbone",
        "hybrid.cross is now called perceiver.cross",
        "model.name is now called model.backbone and model.head",
    ]


BEFORE = """
model: {name: NAME, pretrained: none, depth: 18, blocks: 8, frozen: 0}
hybrid: {cross: 1, self_layers: 2, latents: 256, width: 512}
bert: {layers: 1, mask: 0.2, dropout: 0.1, classifier_dropout: 0.8}
videomae: {variant: small, drop_path: 0.1}
"""


@pytest.mark.parametrize(
    ("name", "row"),
    [("hybrid", "cross1_self2"), ("r2plus1d", "baseline"), ("bert", "bert"), ("videomae", "videomae_small")],
)
def test_a_file_of_before_backbone_and_head_gives_the_same_model_in_silence(name, row, tmp_path, capsys):
    config.now_called.cache_clear()
    file = tmp_path / "config.yaml"
    file.write_text(BEFORE.replace("NAME", name))
    assert model_of(file=file) == model_of(row, ["data.crop=112", "data.resize=[128,171]"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "file", sorted((ROOT / "results").rglob("config.yaml")), ids=lambda file: file.parent.parent.name
)
def test_a_committed_record_names_the_architecture_that_its_run_had(file):
    was = yaml.safe_load(file.read_text())
    now = config.load(file=file)
    if "name" not in was["model"]:
        assert now.model_dump()["model"] == was["model"]
        return
    head = {"hybrid": "perceiver", "r2plus1d": "pool", "bert": "bert", "videomae": "pool"}[was["model"]["name"]]
    assert now.model.head == head
    assert now.perceiver.model_dump().items() >= was["hybrid"].items()
    if was["model"]["name"] != "videomae":
        assert (now.model.backbone, now.model.blocks or 8) == ("r2plus1d_18", was["model"]["blocks"])


@pytest.mark.parametrize(
    ("backbone", "weights"),
    [("r2plus1d_18", "kinetics400"), ("efficientnet_lite0", "imagenet"), ("timm:resnet18", "timm")],
)
def test_auto_means_the_backbones_published_weights(backbone, weights):
    chosen = config.load(overrides=["data=hmdb51", f"model={backbone}"])
    assert chosen.model.pretrained == weights


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["model.width=0.25", "data=hmdb51"], "no weights are published for a part of the channels"),
        (["model.width=0.3", "model.pretrained=none"], "width=0.3 is none of 1, 0.5 and 0.25"),
        (["model.width=0.5", "model=s3d", "model.pretrained=none"], "the last two for r2plus1d_18"),
    ],
)
def test_a_width_that_cannot_be_is_told_in_one_line(given, told):
    with pytest.raises(UserError, match=told) as error:
        config.load(overrides=given)
    assert "\n" not in str(error.value)


def test_the_whole_backbone_or_some_of_its_parts_can_be_frozen():
    assert config.load(overrides=["model.frozen=all"]).architecture()["backbone_options"] == {"frozen": "all"}
    with pytest.raises(UserError, match=r"model\.frozen=\"some\" should be"):
        config.load(overrides=["model.frozen=some"])
