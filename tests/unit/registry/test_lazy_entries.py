"""What is imported only when it is needed: ``module:attr`` strings, and locations."""

from __future__ import annotations

import importlib
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modcore.errors import PluginError
from modcore.registry import BrokenEntry, Entry, Registry, RegistryConflict, RegistryMiss

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module that can be imported during the test; returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, source: str) -> str:
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        return name

    return write


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry that modules written by `write` can import as ``shared.models``."""
    registry = Registry("model", scope="toy")
    monkeypatch.setitem(sys.modules, "shared", type("shared", (), {"models": registry}))
    return registry


def test_a_lazy_entry_is_imported_when_it_is_used_and_not_before(
    models: Registry, write: Write
) -> None:
    module = write("lazy_net", "class Net:\n    class Inner: ...")
    assert models.register_module("net", module="lazy_net:Net") == "lazy_net:Net"
    models.register_module(module="lazy_net:Net.Inner")

    assert "net" in models and list(models) == ["net", "Inner"]
    repr(models), repr(models.module_dict), models.explain("net"), dict(models.entries)
    assert module not in sys.modules

    assert type(models.build({"type": "net"})) is sys.modules[module].Net
    assert models.get("Inner") is models.module_dict["Inner"] is sys.modules[module].Net.Inner


def test_threads_that_need_a_lazy_entry_at_once_import_it_once(
    models: Registry, write: Write
) -> None:
    write("slow_net", "import time, shared\nshared.imports += 1\ntime.sleep(0.05)\nclass Net: ...")
    sys.modules["shared"].imports = 0  # type: ignore[attr-defined]
    models.register_module(module="slow_net:Net")
    barrier = threading.Barrier(8)

    def get(_: int) -> Any:
        barrier.wait()
        return models.get("Net")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(get, range(8))) == {sys.modules["slow_net"].Net}
    assert sys.modules["shared"].imports == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("Other = 1", "AttributeError: module 'broken_net' has no attribute 'Net'"),
        ("Net = None", "TypeError: broken_net:Net is None, which cannot be called"),
    ],
)
def test_a_lazy_entry_that_cannot_be_imported_is_an_error_that_says_whose_it_is(
    models: Registry, write: Write, source: str, cause: str
) -> None:
    write("broken_net", source)
    models.add(Entry("net", "broken_net:Net", source="modcore-net 1.2"))
    models.hint = lambda key: "Try: pip install --upgrade modcore-net."

    with pytest.raises(BrokenEntry) as caught:
        models.build({"type": "net"})

    assert str(caught.value) == (
        "'net' in toy::model stands for broken_net:Net (from modcore-net 1.2), "
        f"which cannot be imported ({cause}). Try: pip install --upgrade modcore-net."
    )
    assert caught.value.__cause__ is models.entries["net"].error
    for use in (models.get, models.module_dict.get, models.module_dict.__getitem__):
        with pytest.raises(BrokenEntry):
            use("net")
    with pytest.raises(RegistryMiss) as missed:
        models.build({"type": "zzz"})
    assert f"'net' could not be imported: broken_net:Net (from modcore-net 1.2) ({cause})." in str(
        missed.value
    )


def test_a_lazy_entry_when_its_cause_is_mended_works_again(models: Registry, write: Write) -> None:
    write("mended_net", "raise ValueError('not yet')")
    models.register_module("net", module="mended_net:Net")
    with pytest.raises(BrokenEntry, match="not yet"):
        models.get("net")

    write("mended_net", "class Net:\n    'mended, and so of another length'")

    assert models.get("net").__module__ == "mended_net"
    assert models.entries["net"].error is None


def test_an_error_that_explains_itself_is_left_as_it_is(models: Registry) -> None:
    class FromPlugin(Entry):
        def resolve(self) -> Any:
            raise PluginError("plugin x 1.0 is broken")

    models.add(FromPlugin("net", "x:Net"))

    with pytest.raises(PluginError, match=r"^plugin x 1\.0 is broken$"):
        models.get("net")


def test_a_module_that_registers_what_a_lazy_entry_leads_to_is_no_conflict(
    models: Registry, write: Write
) -> None:
    write("own_net", "from shared import models\n@models.register_module()\nclass Net: ...")
    write("own_net_facade", "from own_net import Net")

    models.register_module(module="own_net:Net")
    models.register_module(module="own_net_facade:Net", force=True)  # by another way
    for _ in range(2):
        assert models.get("Net") is sys.modules["own_net"].Net
    models.register_module(module="own_net:Net")
    assert models.get("Net") is sys.modules["own_net"].Net


def test_a_lazy_entry_when_its_object_was_registered_before_is_no_conflict_and_costs_no_import(
    models: Registry, write: Write
) -> None:
    write("early_net", "from shared import models\n@models.register_module()\nclass Net: ...")
    write("early_facade", "from early_net import Net")
    write("promising", "def __getattr__(name):\n    import no_such_package")
    for module in ("early_facade", "promising"):
        importlib.import_module(module)

    models.register_module(module="early_facade:Net")
    assert models.get("Net") is sys.modules["early_net"].Net

    models.register_module(module="promising:Net")  # may lead to the same, but it takes an import
    with pytest.raises(RegistryConflict):
        models.get("Net")


def test_two_lazy_entries_for_one_name_are_refused_and_neither_is_imported(
    models: Registry, write: Write
) -> None:
    for name in ("rival_a", "rival_b"):
        write(name, "class Net: ...")
        models.register_module(module=f"{name}:Net")

    with pytest.raises(RegistryConflict):
        models.get("Net")
    assert not {"rival_a", "rival_b"} & set(sys.modules)


def test_a_location_is_imported_when_a_name_is_first_missed_and_only_once(
    models: Registry, write: Write
) -> None:
    write("place", "from shared import models\nmodels.register_module('far', module=lambda: 1)")
    registry = Registry("model", scope="child", parent=models, locations=["place"])
    registry.register_module("near", module=lambda: 0)

    assert registry.build({"type": "near"}) == 0
    assert "place" not in sys.modules
    assert registry.build({"type": "far"}) == 1
    del sys.modules["place"]
    assert registry.get("nowhere") is None
    assert "place" not in sys.modules


def test_the_location_of_a_child_goes_before_what_the_parent_has(
    models: Registry, write: Write
) -> None:
    child = Registry("model", scope="child", parent=models, locations=["child_place"])
    sys.modules["shared"].child = child  # type: ignore[attr-defined]
    write(
        "child_place", "from shared import child\nchild.register_module('f', module=lambda: 'own')"
    )
    models.register_module("f", module=lambda: "parent's")

    assert child.build({"type": "f"}) == models.build({"type": "child.f"}) == "own"


def test_a_location_that_fails_hides_nothing_and_is_tried_again_only_when_asked(
    models: Registry, write: Write
) -> None:
    write("bad_place", "raise RuntimeError('no GPU')")
    registry = Registry("model", scope="x", locations=["bad_place", "no.such.place"])
    registry.register_module("f", module=lambda: 1)

    assert registry.get("g") is None
    assert registry.build({"type": "f"}) == 1
    assert set(registry.location_errors) == {"bad_place", "no.such.place"}
    with pytest.raises(
        RegistryMiss, match=r"bad_place, which cannot be imported \(RuntimeError: no GPU"
    ):
        registry.build({"type": "g"})

    write("bad_place", "mended = 'and of another length'")
    assert registry.get("g") is None
    assert "bad_place" in registry.location_errors
    registry.import_from_location()
    assert set(registry.location_errors) == {"no.such.place"}


def test_threads_that_miss_a_name_while_its_location_is_imported_wait_for_it(
    models: Registry, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        "slow_place",
        """
        import shared, time
        assert shared.models.get("late") is None  # a location may look things up itself
        shared.looked_up.set()
        assert shared.others_begin.wait(10)
        time.sleep(0.05)  # in which who does not wait finds nothing
        shared.models.register_module("late", module=lambda: 1)
        """,
    )
    registry = Registry("model", scope="slow", locations=["slow_place"])
    looked_up, others_begin = threading.Event(), threading.Event()
    shared = SimpleNamespace(models=registry, looked_up=looked_up, others_begin=others_begin)
    monkeypatch.setitem(sys.modules, "shared", shared)

    def build(is_first: bool) -> Any:
        if not is_first:
            assert looked_up.wait(10)
            others_begin.set()
        return registry.build({"type": "late"})

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(build, [True, False, False, False])) == [1] * 4
    assert registry.location_errors == {}


def test_locations_are_not_shared_between_registries() -> None:
    names = ["a.place"]
    first = Registry("model", scope="x", locations=names)
    names.append("another.place")
    first.import_from_location()
    second = Registry("model", scope="x")
    second.import_from_location()

    assert set(first.location_errors) == {"a.place"}
    assert second.location_errors == {}


def test_overlay_keeps_what_locations_register(models: Registry, write: Write) -> None:
    write("kept_place", "from shared import models\nmodels.register_module('f', module=lambda: 1)")
    registry = Registry("model", scope="x", locations=["kept_place"])
    sys.modules["shared"].models = registry  # type: ignore[attr-defined]

    with registry.overlay() as same:
        assert same is registry
        registry.register_module("g", module=lambda: 2)
        assert registry.build({"type": "f"}) + registry.build({"type": "g"}) == 3

    assert registry.build({"type": "f"}) == 1
    assert registry.get("g") is None
