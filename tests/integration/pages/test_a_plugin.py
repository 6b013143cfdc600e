"""docs/writing-a-plugin.md: its files make a plugin, which does what the page says."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from checkpoints import llama_config, rewrite_config, rewrite_tensors, train_tokenizer, write_random
from pages import ROOT, programs
from plugin_sites import CommandLine, Site

PAGE = ROOT / "docs" / "writing-a-plugin.md"
GREEDY = ("--prompt", "the quick", "--max-tokens", "8", "--temperature", "0")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("llama")
    tokenizer = train_tokenizer()
    write_random(llama_config(vocab_size=len(tokenizer)), directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def modcore(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The command line where the page's plugin is installed."""
    model, variant, *hooks = programs(PAGE)
    project, *tables = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
    metadata = tomllib.loads("\n".join([project, *tables]))["project"]
    site = Site(tmp_path_factory.mktemp("site"))
    (site.path / "modcore_lama2").mkdir()
    site.install(
        metadata["name"],
        metadata["version"],
        requires=metadata["dependencies"],
        entry_points=metadata["entry-points"],
        modules={
            "modcore_lama2/__init__": model,
            "modcore_lama2/hooks": "\n".join(hooks),
            "my_package": variant,
        },
    )
    patience = {"MODCORE_PLUGIN_TIMEOUT": "60"}  # what imports torch takes long beside other tests
    return CommandLine(sys.executable, [site.path], patience)


def test_every_entry_of_the_plugin_can_be_used(modcore: CommandLine) -> None:
    own = [entry for entry in modcore.plugins("--check") if entry["dist"] == "modcore-lama2"]
    assert [entry["status"] for entry in own] == ["ok"] * 3, own


def test_family_with_other_names_answers_as_the_llama_it_is(
    modcore: CommandLine, llama: Path, tmp_path: Path
) -> None:
    write_random(llama_config(vocab_size=len(train_tokenizer())), tmp_path)
    train_tokenizer().save_pretrained(tmp_path)
    rewrite_config(tmp_path, architectures=["Lama2ForCausalLM"], model_type="lama2")
    rewrite_tensors(
        tmp_path,
        lambda tensors: {
            k.replace("model.layers", "decoder.blocks"): v for k, v in tensors.items()
        },
    )
    assert "match: Lama2ForCausalLM from modcore-lama2" in modcore.run("explain", tmp_path).stdout
    answers = [modcore.run("generate", each, *GREEDY) for each in (tmp_path, llama)]
    assert answers[0].stdout == answers[1].stdout != "", answers[0].stderr
    rewrite_config(tmp_path, remove=["architectures"])
    assert "names the model type lama2" in modcore.run("explain", tmp_path).stdout


def test_variant_is_taken_where_it_is_asked_for(modcore: CommandLine, llama: Path) -> None:
    done = modcore.run("generate", llama, "--weights", "mine", *GREEDY)
    assert (done.returncode, done.stderr) == (0, "")


def test_command_of_the_plugin_is_run(modcore: CommandLine) -> None:
    assert modcore.run("greet").stdout == "hello\n"
