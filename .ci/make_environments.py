"""Write what follows from pyproject.toml: the two conda environments and the requirements of servers without Qt.

python .ci/make_environments.py           # writes the files
python .ci/make_environments.py --check   # exit code 1 if one is not what it should be
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What only windows need.
WINDOW = {"magicgui", "napari", "qtpy", "superqt"}

CONDA = """\
# Made from pyproject.toml by .ci/make_environments.py.
# mamba env create -f {file} && mamba activate sam && pip install --no-deps -e .
# Everything comes from PyPI, so that conda and pip users run the same builds.
name: sam
channels:
  - conda-forge
dependencies:
  - python=3.12
  - pip
  - pip:
"""
CPU_INDEX = "      - --extra-index-url https://download.pytorch.org/whl/cpu  # PyTorch without CUDA: 5 GB less\n"

HEADLESS = """\
# Made from pyproject.toml by .ci/make_environments.py: all but napari and Qt, for servers.
# pip install -r docs/requirements_headless.txt && pip install --no-deps -e .
"""


def requirements() -> list[str]:
    """What the package requires, as in pyproject.toml, in its order."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def name(requirement: str) -> str:
    """The name of the distribution in a requirement such as ``napari[pyqt6]>=0.5.5``."""
    return re.match(r"[A-Za-z0-9_.-]+", requirement).group()


def files() -> dict[Path, str]:
    """Each file that follows from pyproject.toml and its text."""
    packages = requirements()
    listed = "".join(f"      - {package}\n" for package in packages)
    headless = "".join(f"{package}\n" for package in packages if name(package) not in WINDOW)
    return {
        ROOT / "environment_cpu.yaml": CONDA.format(file="environment_cpu.yaml") + CPU_INDEX + listed,
        ROOT / "environment_gpu.yaml": CONDA.format(file="environment_gpu.yaml") + listed,
        ROOT / "docs" / "requirements_headless.txt": HEADLESS + headless,
    }


def main() -> int:
    """Write the files, or with ``--check`` compare them. Returns the exit code."""
    wrong = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in wrong:
            print(f"{path.relative_to(ROOT)} does not follow from pyproject.toml: python .ci/make_environments.py")
        return 1 if wrong else 0
    for path in wrong:
        path.write_text(files()[path])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
