"""The package as a whole: what it installs, what it imports, and which way the imports run."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "micro_sam"

# from the top of the house to the ground floor; a room may import from its own line and from lines below it
HEADLESS = ["models", "embeddings", "segmentation", "session", "io", "training", "evaluation", "sample_data"]


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# where the name of what is imported is not that of what is installed
DISTRIBUTIONS = {
    "PIL": "pillow",
    "bioimage_cpp": "bioimage-cpp",
    "bioimageio": "bioimageio-core",
    "dask_cuda": "dask-cuda",
    "dask_jobqueue": "dask-jobqueue",
    "elf": "python-elf",
    "geff_spec": "geff-spec",
    "segment_anything": "segment-anything",
    "skimage": "scikit-image",
}
UNDECLARED = {"dask-cuda"}  # used where a cluster's administrator has installed it, docs/cluster.md


def _name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement).group().lower().replace("_", "-").replace(".", "-")


def test_files_that_follow_from_pyproject_are_up_to_date():
    script = ROOT / ".ci" / "make_environments.py"
    run = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_every_import_is_a_declared_dependency():
    imported = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    imported -= set(sys.stdlib_module_names) | {"micro_sam"}
    extras = [requirement for group in PROJECT["optional-dependencies"].values() for requirement in group]
    declared = {_name(requirement) for requirement in PROJECT["dependencies"] + extras}
    assert {DISTRIBUTIONS.get(name, name).lower() for name in imported} - declared == UNDECLARED


def test_every_dependency_is_imported_somewhere():
    text = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    # a plugin of tifffile and zarr; what segment-anything imports without declaring it
    needed_by_others = {"imagecodecs", "torchvision"}
    names = {_name(requirement) for requirement in PROJECT["dependencies"]} - needed_by_others
    modules = {name: next((m for m, d in DISTRIBUTIONS.items() if d == name), name.replace("-", "_")) for name in names}
    assert [n for n, module in modules.items() if not re.search(rf"(import|from) {module}\b", text)] == []


def test_importing_the_package_is_cheap():
    # Modules are counted, here and below: seconds depend on the machine and on what else it does.
    code = "import sys; before = set(sys.modules); import micro_sam; print(len(set(sys.modules) - before))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(modules) <= 3


def test_imports_keep_the_contracts_of_pyproject():
    tool = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_headless_rooms_import_no_window_and_no_torchvision():
    modules = [
        ".".join(("micro_sam", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for room in HEADLESS
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if path != PACKAGE / "models" / "stock.py"  # the bridge to segment_anything, imported when a script asks for it
    ]
    # argparse comes with numpy's and torch's own imports
    code = (
        f"import importlib, sys\nfor m in {modules!r}:\n    importlib.import_module(m)\n"
        "    bad = {'napari', 'qtpy', 'PyQt6', 'PySide6', 'magicgui', 'torchvision', 'triton', 'segment_anything'}\n"
        "    assert not bad & set(sys.modules), (m, bad & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_only_the_command_line_prints_and_parses():
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] == "cli":
            continue
        text = path.read_text()
        assert not re.search(r"^\s*print\(", text, re.M), f"{path} prints; the library logs"
        assert not re.search(r"^\s*(import argparse|from argparse)", text, re.M), path


def test_nothing_is_read_with_unrestricted_pickle():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(import|from) pickle\b|weights_only=False|allow_pickle=True", text, re.M), path


REPLACES = re.compile(
    r"os\.(replace|rename|remove|unlink)\(|shutil\.(rmtree|move|copy\w*)|rmtree|\.(unlink|rmdir|rename)\("
)
MAY_REPLACE = {
    "io/atomic.py": "the room where it is done",
    "io/run_file.py": "the wish to stop, an empty file of its own",
    "models/download.py": "its own partial download",
    "sample_data/download.py": "its own partial download",
    "models/export/tracing.py": "parts of a file in a folder of its own",
    "embeddings/zarr_layout.py": "probe files and partial chunks of zarr in a cache",
    "embeddings/temporary_store.py": "a file in a temporary folder of its own",
    "session/journal/moving.py": "sessions, which get other names and places and never replace another one",
    "segmentation/automatic/dense_blocks.py": "maps of another model or image, numbered files in a folder of the cache",
}


def test_files_are_replaced_and_removed_in_one_room_only():
    """Data were destroyed where each writer had a way of its own; see ``io/atomic.py`` and ``io/results.py``."""
    found = {
        str(path.relative_to(PACKAGE)).replace("\\", "/")
        for path in PACKAGE.rglob("*.py")
        if REPLACES.search(path.read_text())
    }
    assert found == set(MAY_REPLACE)


NO_COMMANDS = {"bootstrap", "demo"}  # python -m micro_sam


def test_every_command_has_a_launcher_and_every_launcher_a_command():
    launchers = {path.stem for path in (PACKAGE / "cli").glob("*.py") if path.stem not in NO_COMMANDS}
    launchers = {name for name in launchers if not name.startswith("_")}
    assert PROJECT["scripts"] == {f"micro_sam.{name}": f"micro_sam.cli.{name}:main" for name in launchers}


def test_every_command_answers_help_before_anything_heavy_is_imported():
    names = [name.removeprefix("micro_sam.") for name in PROJECT["scripts"]]
    code = (
        "import sys; before = set(sys.modules); from micro_sam.cli.{0} import main\n"
        "try: main(['-h'])\nexcept SystemExit as e: assert not e.code\n"
        "new = set(sys.modules) - before\n"
        "print('MODULES', len(new), sorted({{'torch', 'napari', 'numpy', 'scipy'}} & new))"
    )
    for name in names:
        run = subprocess.run([sys.executable, "-c", code.format(name)], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        last = run.stdout.strip().splitlines()[-1].split(maxsplit=2)
        # 170 to 180 modules, most of them pydantic's, 0.1 s of processor time; torch alone is more than 1,000
        assert int(last[1]) < 200 and last[2] == "[]", (name, last)
