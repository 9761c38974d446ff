"""A docstring that lists parameters lists those of the signature, all of them, in order."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest

import wavcube
from wavcube import lobes

SECTION = re.compile(r"^Parameters\n-{10}\n(.*?)(?=^\w[^\n]*\n-{3,}$|\Z)", re.M | re.S)
ENTRY = re.compile(r"^(\*{0,2}\w[\w, *]*?)(?: :.*)?$", re.M)


def documented() -> Iterator[tuple[str, object, str]]:
    """Every public function, method and class of the package, with its docstring."""
    for module in pkgutil.walk_packages(wavcube.__path__, "wavcube."):
        loaded = importlib.import_module(module.name)
        for name, item in vars(loaded).items():
            if name.startswith("_") or getattr(item, "__module__", None) != module.name:
                continue
            if inspect.isfunction(item):
                yield f"{module.name}.{name}", item, inspect.getdoc(item) or ""
            elif inspect.isclass(item):
                yield f"{module.name}.{name}", item, inspect.cleandoc(item.__doc__ or "")
                for key, method in vars(item).items():
                    if inspect.isfunction(method) and not key.startswith("_"):
                        doc = inspect.cleandoc(method.__doc__ or "")
                        yield f"{module.name}.{name}.{key}", method, doc


def listed(doc: str) -> list[str] | None:
    """Names in the section on parameters, None without one."""
    section = SECTION.search(doc)
    if section is None:
        return None
    names = [name for entry in ENTRY.findall(section.group(1)) for name in entry.split(",")]
    return [name.strip().lstrip("*") for name in names]


def of_signature(item: object) -> list[str]:
    """Names that a caller may give."""
    names = list(inspect.signature(item).parameters)
    return [name for name in names if name not in ("self", "cls")]


ITEMS = {name: (item, doc) for name, item, doc in documented() if listed(doc) is not None}


@pytest.mark.parametrize("name", ITEMS)
def test_documented_parameters_are_those_of_the_signature(name):
    item, doc = ITEMS[name]
    assert listed(doc) == of_signature(item)


def test_the_check_sees_the_package():
    assert len(ITEMS) > 200
    assert listed("Do.\n\nParameters\n----------\na, b : int\n    Two.\n*c\n    Rest.\n") == [
        "a",
        "b",
        "c",
    ]


def test_the_reading_order_of_the_lobes_names_modules_that_there_are():
    named = set(re.findall(r"`(\w+)`", lobes.__doc__))
    assert len(named) > 20
    modules = pkgutil.walk_packages(lobes.__path__, "wavcube.lobes.")
    assert named <= {module.name.rpartition(".")[2] for module in modules}
