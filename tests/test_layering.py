"""Rules of the repository that ruff cannot check: layering of imports, requirements, and no unpickling."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = [{"configs"}, {"captioning", "training", "retrieval", "clustering"}, {"models", "data"}, {"utils"}]
PACKAGES = set().union(*LEVELS)
TOOLS = {"ruff", "mypy", "pytest", "pytest-xdist", "jsonschema", "hypothesis", "playwright", "onnxruntime"}
IMPORT_NAMES = {"scikit-learn": "sklearn", "faiss-gpu": "faiss", "pillow": "PIL", "pyyaml": "yaml"}
THROUGH_TORCH = {"torch.utils.tensorboard": "tensorboard", "torch.onnx": "onnxscript"}


def sources(*, tests: bool) -> list[Path]:
    """The Python files of the project, by name: its packages, its scripts, and its tests and benchmarks if wanted."""
    folders = sorted(PACKAGES | {"scripts"} | ({"tests", "benchmarks"} if tests else set()))
    return [*sorted(ROOT.glob("*.py")), *(path for name in folders for path in sorted((ROOT / name).rglob("*.py")))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            found.add(node.module or "")
    return found


def modules(package: str) -> list[Path]:
    """The files of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def packages(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imported(path)}


SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
CODE = sources(tests=False)


def test_the_walk_sees_the_repository() -> None:
    """Packages, scripts and tests are found: otherwise the tests below would pass without checking anything."""
    assert {"train", "test", "gen_train_data", "gen_test_data", "check_data"} <= SCRIPTS
    assert all((ROOT / name / "__init__.py").is_file() for name in PACKAGES)
    assert len(CODE) > 50
    unknown = {path.parent.name for path in ROOT.glob("*/__init__.py")} - PACKAGES - {"tests", "benchmarks"}
    assert not unknown, f"not on any level: {unknown}"


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_a_script_handles_ctrl_c_before_it_loads_libraries(script: str) -> None:
    """Its first import but `__future__`."""
    nodes = ast.parse((ROOT / f"{script}.py").read_text(encoding="utf-8")).body
    imports = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports[1] == "import utils.interrupts"


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_only_go_down(package: str) -> None:
    """Scripts -> captioning, training, retrieval, clustering -> models, data -> utils; only scripts import configs."""
    level = next(number for number, names in enumerate(LEVELS) if package in names)
    below = set().union(*LEVELS[level + 1 :])
    # On the second level, packages may import one another, as long as no two import each other.
    allowed = below | (LEVELS[level] if level == 1 else set()) | {package}
    for path in modules(package):
        wrong = packages(path) & (PACKAGES | SCRIPTS | {"tests"}) - allowed
        assert not wrong, f"{name_of(path)} imports {sorted(wrong)}"


def test_models_and_data_do_not_import_each_other() -> None:
    """Tensors on one side, files on the other."""
    for one, other in (("models", "data"), ("data", "models")):
        assert [name_of(path) for path in modules(one) if other in packages(path)] == []


def test_no_two_packages_import_each_other() -> None:
    """The graph of packages has no cycle."""
    graph = {
        package: set().union(*(packages(path) for path in modules(package))) & PACKAGES - {package}
        for package in PACKAGES
    }
    while leaves := {package for package, below in graph.items() if not below & graph.keys()}:
        graph = {package: below for package, below in graph.items() if package not in leaves}
    assert not graph, f"circle among {sorted(graph)}"


def test_no_code_imports_tests() -> None:
    """The code does not depend on its tests or benchmarks."""
    assert [name_of(path) for path in CODE if {"tests", "benchmarks"} & packages(path)] == []


def test_loading_never_unpickles() -> None:
    """`torch.load` is called with weights_only=True, and `np.load` never allows pickles."""
    for path in sources(tests=True):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                where, name = f"{name_of(path)}:{node.lineno}", ast.unparse(node.func)
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert name != "torch.load" or given.get("weights_only") == "True", where
                assert name != "np.load" or given.get("allow_pickle", "False") == "False", where


def pickle_uses(path: Path) -> set[str]:
    """The names that a file imports from the pickle module."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {
        ast.unparse(node)
        for node in nodes
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("pickle.")
    }


def test_nothing_is_pickled() -> None:
    """Only pickle's error is imported, to report it in one line."""
    for path in sources(tests=True):
        taken = {"cPickle", "dill", "joblib", "shelve", "cloudpickle"} & packages(path)
        assert not taken, f"{name_of(path)} imports {sorted(taken)}"
        if "pickle" in packages(path):
            assert pickle_uses(path) == {"pickle.UnpicklingError"}, name_of(path)


def test_every_required_package_is_used() -> None:
    """A line of requirements.txt that nothing imports would be installed for nothing."""
    used = set().union(*(packages(path) for path in CODE))
    used |= {THROUGH_TORCH[module] for path in CODE for module in imported(path) & THROUGH_TORCH.keys()}
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    names = [re.split(r"[<>=!~\[; ]", line)[0].lower() for line in lines if line]
    unused = [name for name in names if name not in TOOLS and IMPORT_NAMES.get(name, name) not in used]
    assert not unused


def test_every_imported_package_is_required() -> None:
    """What the code imports is the standard library, the project, or listed in requirements.txt."""
    text = (ROOT / "requirements.txt").read_text() + "markupsafe\n"  # installed with jinja2, whose strings it provides
    required = {re.split(r"[<>=!~\[; ]", line)[0].lower() for line in text.splitlines() if line and line[0] != "#"}
    known = (
        {IMPORT_NAMES.get(name, name) for name in required}
        | sys.stdlib_module_names
        | PACKAGES
        | SCRIPTS
        | {"tests", "benchmarks"}
    )
    for path in sources(tests=True):
        assert packages(path) <= known, f"{name_of(path)} imports {sorted(packages(path) - known)}"


def test_no_name_hides_another_package() -> None:
    """`datasets` is a folder of data, not the library of that name, and no module has the name of a standard one."""
    for folder in ("datasets", "output", "checkpoint", "pre_gen_data"):
        assert not (ROOT / folder / "__init__.py").exists()
    assert not [name_of(path) for path in sources(tests=True) if path.name == "logging.py"]
    # test.py is the script's given name; the standard library's own tests are never imported.
    assert not (SCRIPTS | PACKAGES) & (sys.stdlib_module_names - {"test"})


def test_no_home_folder_and_no_key_is_in_the_code() -> None:
    """No personal paths and no secrets in code, settings and shell scripts."""
    private = re.compile(r"(?<![\w.])/(home|Users|root)/\w+|\bsk-[A-Za-z0-9]{20,}")
    settings = [*ROOT.glob("*.bash"), *(ROOT / "scripts").iterdir(), *(ROOT / "configs").rglob("*.yaml")]
    for path in {*CODE, *(path for path in settings if path.is_file())}:
        found = private.search(path.read_text(encoding="utf-8"))
        assert not found, f"{name_of(path)}: {found and found.group()}"
