"""The rooms of the package: each stands above all that it imports, and there is no circle."""

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

FLOORS = {
    1: {"lobes", "utils", "version"},
    2: {"data", "release", "losses"},
    3: {"inference", "representations", "training", "metrics", "onnx", "official"},
    4: {"experiment", "pretraining", "features"},
    5: {"tasks", "latent"},
    6: {"cli", "testing", "__main__"},
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}


def module_name(path, root):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source, modules):
    """Modules of the package that a source imports anywhere, in functions and for types as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.fixture(scope="module")
def graph(repository):
    files = {module_name(p, repository): p for p in (repository / "wavcube").rglob("*.py")}
    found = {
        name: {other for other in imports_of(path.read_text(), files) if other in files}
        for name, path in files.items()
    }
    assert sum(map(len, found.values())) > 500
    return found


def room(module):
    return module.split(".")[1]


def test_no_room_imports_one_that_stands_above_it(graph):
    up = [
        f"{module} -> {other}"
        for module, others in graph.items()
        for other in others
        if "." in module and "." in other and FLOOR[room(module)] < FLOOR[room(other)]
    ]
    assert not up


def test_no_module_imports_itself_in_a_circle(graph):
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_two_rooms_import_each_other(graph):
    pairs = {
        (room(module), room(other))
        for module, others in graph.items()
        for other in others
        if "." in module and "." in other and room(module) != room(other)
    }
    assert not [pair for pair in pairs if pair[::-1] in pairs]


def test_few_files_stand_at_the_top(repository):
    assert len(list((repository / "wavcube").glob("*.py"))) <= 6


def test_the_types_are_there_for_whoever_installs_the_package(repository):
    assert (repository / "wavcube" / "py.typed").is_file()
    setup = ast.parse((repository / "setup.py").read_text())
    data = next(k.value for k in ast.walk(setup) if getattr(k, "arg", None) == "package_data")
    assert "py.typed" in ast.literal_eval(data)["wavcube"]
