"""Trained models on the Hugging Face hub: one self-describing file, and a card that is filled from the run."""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData, hf_hub_download
from huggingface_hub.errors import HFValidationError

from hmdb_lib.config import Config
from hmdb_lib.errors import UserError, hub_reason
from hmdb_lib.files import report_refusals
from hmdb_lib.inference import trained as portable
from hmdb_lib.models.backbones.base import HubError
from hmdb_lib.results.metrics import mean_beside
from hmdb_lib.results.statistics import range_text, videos_text

REPOSITORY = "https://github.com/hmdb-lib/hmdb-lib"  # as [project.urls] in pyproject.toml
FILE = f"model{portable.ENDING}"
DATA = {
    "hmdb51": "HMDB51 (Kuehne, Jhuang, Garrote, Poggio, Serre, ICCV 2011)",
    "sample": "a sample set of drawn figures",
}


def push(source: Path | str, repository: str, *, public: bool = False, endpoint: str | None = None) -> str:
    """Put a trained model (see `portable.read`) and its card into `<user>/<name>`, made if need be; returns the address.

    The token is the one that `hf auth login` or HF_TOKEN gave. `endpoint`: another hub. Raises UserError.
    """
    _check_name(repository)
    with tempfile.TemporaryDirectory() as folder:
        portable.write(source, Path(folder) / FILE)
        card(portable.read(source)).save(Path(folder) / "README.md")
        with _faults_told(repository):
            api = HfApi(endpoint)
            api.create_repo(repository, private=not public, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Add the model and its card")
        return f"{api.endpoint}/{repository}"


def pull(repository: str, *, endpoint: str | None = None) -> Path:
    """Fetch the model file of `<user>/<name>` into the hub's cache on this machine; `Classifier.load` takes it.

    Raises UserError.
    """
    _check_name(repository)
    with _faults_told(repository):
        return Path(hf_hub_download(repository, FILE, endpoint=endpoint))


def card(trained: portable.Trained) -> ModelCard:
    """Write the card of a model: data, protocol, accuracy with its interval, size, limits."""
    config, facts = trained.config, trained.facts
    test, data = facts["test"], config.data
    result = EvalResult(
        task_type="video-classification",
        dataset_type=data.name,
        dataset_name=data.name,
        dataset_split=f"test, split {data.split}",
        metric_type="accuracy",
        metric_value=test["accuracy"],
    )
    name, (guessing, chance) = config.title, trained.guess
    seen = hashlib.sha256("\n".join(facts.get("seen") or []).encode()).hexdigest()
    about = ModelCardData(
        library_name="hmdb_lib", pipeline_tag="video-classification", model_name=name, eval_results=[result]
    )
    low, high = 100 * test["accuracy_low"], 100 * test["accuracy_high"]
    interval = range_text(low, high, test.get("sources"), ".1f")
    judged = f"{config.evaluate.clips} clips x {config.evaluate.crops} crops, {config.evaluate.vote}"
    lines = [
        f"# {name}",
        f"A video classifier of {len(trained.classes)} classes: {config.model.backbone} with the head {config.model.head}, row `{config.row}` of hmdb_lib.",
        "## Result",
        f"Test accuracy **{100 * test['accuracy']:.1f} %** {interval} (95 % interval over source videos){mean_beside(facts, '.1%')} on "
        f"{videos_text(test)}; "
        f"{guessing} names {100 * chance:.1f} %.",
        "## Data and protocol",
        f"- Data: {DATA.get(data.name, data.name)}, split {data.split}; seed {config.seed}.",
        f"- A clip: {data.frames} frames, {data.crop} x {data.crop} pixels.",
        f"- A video: {judged} of their probabilities. {_epoch(config)}",
        f"- Started from: {trained.start}.",
        *(
            [f"- It has learned from {facts['seen_test_videos']} of the test videos."]
            if facts.get("seen_test_videos")
            else []
        ),
        *(
            [f"- List of the videos it learned from (in the file, hashed): SHA-256 {seen}."]
            if facts.get("seen")
            else []
        ),
        "## Size",
        f"{facts['parameters']['total']:,} parameters, {facts['flops'] / 1e9:.1f} GFLOP a clip.",
        "## Limits",
        "It knows its classes alone and gives one of them to any video. "
        + ("It comes from a check that everything runs: it is no result. " if facts["quick"] else "")
        + "One split and one seed do not tell how far another run would differ.",
        "## Use",
        f"```sh\npip install git+{REPOSITORY}\n```",
        '```python\nimport hmdb_lib as hl\n\nhl.load_model("<user>/<name>").predict("video.mp4").table()\n```',
        "Classes: " + ", ".join(trained.classes),
    ]
    return ModelCard(f"---\n{about.to_yaml()}\n---\n\n" + "\n\n".join(lines) + "\n")


def _epoch(config: Config) -> str:
    if config.train.final_fit:
        return "A final fit: it trained on the validation videos too, for as many epochs as validation chose before."
    if config.chosen_on == "last epoch":
        return "No part was held out to choose the epoch: the last was taken."
    return f"The epoch was chosen on {config.chosen_on}{', which flatters' * (config.chosen_on == 'test')}."


def _check_name(repository: str) -> None:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"{repository}: is not <user>/<name>; the user, or the group, is part of a model's name")


@contextmanager
def _faults_told(repository: str) -> Iterator[None]:
    try:
        with report_refusals():  # of the disk that holds the hub's cache
            yield
    except (HubError, HFValidationError, OSError, RuntimeError) as error:
        raise UserError(f"{repository}: the hub gives no answer that helps; {hub_reason(error)}") from error
