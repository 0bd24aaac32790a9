"""Run the tools with other versions of what they stand on: the oldest that pyproject.toml allows, and the other Qt.

    python .ci/versions.py              all, a table of the versions at the end
    python .ci/versions.py oldest

Each job has an environment of its own with the package from this checkout. What a job does not change, PyTorch above
all, is borrowed from the environment that runs this script. The first row of the table is that environment, where the
whole suite runs.
"""

import contextlib
import os
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from micro_sam.cli.bootstrap import _test_environment, _virtual_screen  # noqa: E402

SHARED = {"torch", "torchvision", "segment-anything"}  # large; one for all jobs
COLUMNS = ("Python", "napari", "Qt", "torch", "numpy", "zarr", "dask", "pydantic")
VERSIONS = """
import platform
from importlib.metadata import version
import qtpy
qt = f"{qtpy.API_NAME} {qtpy.QT_VERSION}"
names = "napari Qt torch numpy zarr dask pydantic".split()
print(platform.python_version(), *(qt if name == "Qt" else version(name) for name in names), sep=" | ")
"""
IMPORTS = """
import importlib, pkgutil, micro_sam
names = [module.name for module in pkgutil.walk_packages(micro_sam.__path__, "micro_sam.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names), "modules are imported")
"""
WINDOW = ["test/window/test_story_2d.py"]
FILES = ["test/io/test_labels.py", "test/io/test_tracks.py", "test/embeddings/test_zarr_store.py"]
COMMANDS = ["test/cli/test_automatic_segmentation.py"]


def oldest() -> list[str]:
    """The lower bound of each dependency as a requirement, but for those that all jobs share."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = (requirement.partition(">=") for requirement in project["dependencies"])
    return [f"{name}=={bound.split(',')[0]}" for name, _, bound in bounds if name not in SHARED]


JOBS = {
    "oldest": (oldest, {}, [*FILES, *COMMANDS, *WINDOW]),
    "PySide6": (lambda: ["PySide6-Essentials"], {"QT_API": "pyside6"}, WINDOW),
}


def run(name: str, folder: Path) -> str:
    """Make the environment of a job, test in it, and return its versions as a row of the table."""
    print(f"Versions: {name}", flush=True)
    requirements, variables, tests = JOBS[name]
    venv.create(folder, with_pip=False)  # the pip that we have installs into it
    python = folder / "bin" / "python"
    # a .pth file puts the borrowed folder behind the environment's own, so what is installed here wins
    (site_packages,) = (folder / "lib").glob("python*/site-packages")
    (site_packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, *requirements()], check=True)
    # plugins of pytest that are borrowed may want newer versions of what is tested here
    environment = _test_environment() | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | variables
    pytest = [python, "-m", "pytest", "-q", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
    for command in ([python, "-c", IMPORTS], [*_virtual_screen(), *pytest, *tests]):
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
    return versions(python, environment)


def versions(python: Path, environment: dict[str, str]) -> str:
    """The versions of an environment, as a row of the table."""
    return subprocess.check_output([python, "-c", VERSIONS], env=environment, text=True).strip()


def main() -> None:
    rows = {"whole suite": versions(Path(sys.executable), dict(os.environ))}
    names = sys.argv[1:] or list(JOBS)
    with ThreadPoolExecutor() as pool, contextlib.ExitStack() as stack:  # all at once: one waits while another computes
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in names]
        rows |= zip(names, pool.map(run, names, folders), strict=True)
    print("\n".join(["", f"| job | {' | '.join(COLUMNS)} |", f"|{'---|' * (len(COLUMNS) + 1)}"]))
    print("\n".join(f"| {name} | {row} |" for name, row in rows.items()))


if __name__ == "__main__":
    main()
