"""The package as a whole: what it installs, what it imports, and which way the imports run."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "micro_sam"

# from the top of the house to the ground floor; a room may import from its own line and from lines below it
HEADLESS = ["models", "embeddings", "segmentation", "session", "io", "training", "evaluation", "sample_data"]


def _requirements() -> set[str]:
    text = (ROOT / "setup.py").read_text()
    block = text[text.index("install_requires") : text.index("extras_require")]
    return {re.match(r"[A-Za-z0-9_.-]+", name).group() for name in re.findall(r'^\s+"([^"]+)",', block, re.M)}


@pytest.mark.parametrize("name", ["environment_cpu.yaml", "environment_gpu.yaml"])
def test_conda_environments_name_what_setup_requires(name):
    lines = (ROOT / name).read_text().splitlines()
    assert "name: sam" in lines
    entries = [line.strip()[2:].split("#")[0].strip() for line in lines if line.strip().startswith("- ")]
    packages = {re.match(r"[A-Za-z0-9_.-]+", e).group() for e in entries if not e.startswith("--")}
    packages -= {"conda-forge", "python", "pip", "nodefaults"}
    assert packages == _requirements()


def test_importing_the_package_is_cheap():
    # Processor time, here and below: what else the machine does at the moment says nothing about the package.
    code = "import time; t = time.process_time(); import micro_sam; print(time.process_time() - t)"
    seconds = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(seconds) < 0.2


def test_imports_keep_the_contracts_of_pyproject():
    tool = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("room", HEADLESS)
def test_headless_rooms_import_no_window_and_no_torchvision(room):
    modules = [
        ".".join(("micro_sam", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if path != PACKAGE / "models" / "stock.py"  # the bridge to segment_anything, imported when a script asks for it
    ]
    code = (
        f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
        "bad = {'napari', 'qtpy', 'PyQt6', 'PySide6', 'magicgui', 'argparse', 'torchvision', 'triton',"
        " 'segment_anything'} & set(sys.modules)\nprint(sorted(bad))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    found = set(ast.literal_eval(out.strip().splitlines()[-1]))
    # argparse comes with numpy's and torch's own imports; only our own import of it would be upward
    assert not found - {"argparse"}


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
    "embeddings/plain_files.py": "a chunk of a cache, whole or not at all",
    "embeddings/temporary_store.py": "a file in a temporary folder of its own",
    "session/journal/moving.py": "sessions, which get other names and places and never replace another one",
    "segmentation/dense_blocks.py": "maps of another model or image, numbered files in a folder of the cache",
}


def test_files_are_replaced_and_removed_in_one_room_only():
    """Data were destroyed where each writer had a way of its own; see ``io/atomic.py`` and ``io/results.py``."""
    found = {
        str(path.relative_to(PACKAGE)).replace("\\", "/")
        for path in PACKAGE.rglob("*.py")
        if REPLACES.search(path.read_text())
    }
    assert found == set(MAY_REPLACE)


def test_every_command_of_setup_has_a_launcher():
    text = (ROOT / "setup.py").read_text()
    names = re.findall(r'^    "(\w+)",$', text[text.index("COMMANDS") : text.index("setup(")], re.M)
    assert names
    for name in names:
        assert (PACKAGE / "cli" / f"{name}.py").exists(), f"micro_sam.{name} has no module"


def test_every_command_answers_help_within_a_second(tmp_path):
    text = (ROOT / "setup.py").read_text()
    names = re.findall(r'^    "(\w+)",$', text[text.index("COMMANDS") : text.index("setup(")], re.M)
    code = (
        "import sys, time; from micro_sam.cli.{0} import main\n"
        "try: main(['-h'])\nexcept SystemExit as e: assert not e.code\n"
        "print('SECONDS', time.process_time(), sorted({{'torch', 'napari', 'numpy'}} & set(sys.modules)))"
    )
    for name in names:
        run = subprocess.run([sys.executable, "-c", code.format(name)], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        last = run.stdout.strip().splitlines()[-1].split(maxsplit=2)
        assert float(last[1]) < 1.0 and "torch" not in last[2] and "napari" not in last[2], (name, last)
