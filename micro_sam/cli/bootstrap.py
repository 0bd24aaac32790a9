"""From a fresh machine to a running tool with one command; needs nothing but Python itself.

``python3 -m micro_sam try`` opens the 2D annotator on a sample image (on a machine without a screen it segments the
sample and writes the result instead), ``python3 -m micro_sam test`` runs the tests.
Both first make what is missing: the system libraries that Qt and OpenGL want (Debian and Ubuntu; Mac and Windows bring
their own), a virtual environment in ``.venv`` beside the checkout, and the package in it. What is there already is
left alone, so that the second call starts at once.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from micro_sam.cli._window import has_screen

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
OLDEST_PYTHON = (3, 11)  # zarr 3 asks for it

# What the Qt wheels expect of the platform (Qt 6 "xcb" platform plugin and an OpenGL implementation).
WINDOW_LIBRARIES = (
    "libgl1 libegl1 libdbus-1-3 libfontconfig1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 "
    "libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1"
).split()
# A virtual screen, a window manager that gives windows the focus, and a program that moves the mouse.
TEST_PROGRAMS = "xvfb xauth xdotool openbox".split()
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# The tests with windows in two parts of about the same length: a window waits more than it computes.
WINDOWS = (
    ["test/window", "--ignore-glob=*/test_[o-z]*.py"],
    ["test/window", "--ignore-glob=*/test_[!o-z]*.py"],
)
ABORTED = (-signal.SIGABRT, 128 + signal.SIGABRT)  # how Qt ends a process when it cannot reach the screen


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, set up what is missing, start the tool or the tests.

    Returns
    -------
    int
        Exit code: that of the tool or of the tests, 2 when the machine cannot be set up.
    """
    parser = argparse.ArgumentParser(prog="python -m micro_sam", description=__doc__.split("\n\n")[0])
    actions = parser.add_subparsers(dest="action", required=True, metavar="try | test")
    actions.add_parser(
        "try", help="open the 2D annotator on a sample image; without a screen, segment the sample and write the result"
    )
    actions.add_parser("test", help="run the tests; further arguments go to pytest")
    options, rest = parser.parse_known_args(arguments)
    if rest and options.action == "try":
        parser.error(f"'try' takes no further arguments, but got: {' '.join(rest)}")
    has_window = options.action == "test" or has_screen()
    try:
        python = prepare(with_tests=options.action == "test", with_window=has_window)
    except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
        print(f"The set-up did not finish: {error}", file=sys.stderr)
        return 2
    if options.action == "try":
        return try_it([python], has_window)
    return run_tests([python, "-m", "pytest"], rest)


def try_it(python: list[str], has_window: bool) -> int:
    """Open the annotator on a sample; where that cannot be, segment the sample without a window.

    Parameters
    ----------
    python
        The command that starts Python.
    has_window
        Whether there is a screen.

    Returns
    -------
    int
        Exit code: 0 when the window was closed or the results are written.
    """
    if has_window:
        code = subprocess.call([*python, "-m", "micro_sam.cli.annotator_2d", "-i", "sample:cell", "-m", "nano_lm"])
        if code not in ABORTED:
            return code
        print("The window could not be opened.", flush=True)
    else:
        print("There is no screen: the sample is segmented without a window.", flush=True)
    return subprocess.call([*python, "-m", "micro_sam.cli.demo"])


def prepare(with_tests: bool, with_window: bool = True) -> str:
    """Make the system libraries, the virtual environment and the installed package, where they are missing.

    Parameters
    ----------
    with_tests
        Also what only the tests need (pytest, a virtual screen).
    with_window
        Also the system libraries that a window needs.

    Returns
    -------
    str
        Path of the Python interpreter that has the package.

    Raises
    ------
    RuntimeError
        When this Python is too old or the environment cannot be made.
    """
    if sys.version_info < OLDEST_PYTHON:
        raise RuntimeError(
            f"Python {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed, this is {sys.version.split()[0]}. "
            "Install a newer one and start this command with it."
        )
    libraries = (WINDOW_LIBRARIES if with_window else []) + (TEST_PROGRAMS if with_tests else [])
    _install_system_packages(libraries + _venv_package())
    if not (ROOT / "pyproject.toml").exists():  # installed from a wheel: the environment is the one we run in
        return sys.executable
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"Making a virtual environment in {VENV}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    _install_package(str(python), with_tests)
    return str(python)


def _install_package(python: str, with_tests: bool) -> None:
    """Install the checkout in editable mode, once for each state of pyproject.toml."""
    stamp = VENV / "installed"
    state = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    done = stamp.read_text().split() if stamp.exists() else []
    if state in done and ("tests" in done or not with_tests):
        return
    print("Installing micro_sam and what it needs (PyTorch is large: this takes some minutes)", flush=True)
    index = _torch_index()
    # Python compiles a module when it is first imported: compiling all 24,000 here takes most of a minute
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "--upgrade", "pip"], check=True)
    target = ".[test]" if with_tests else "."
    subprocess.run([*pip, *index, "--editable", target], check=True, cwd=ROOT)
    stamp.write_text(f"{state} tests" if with_tests else state)


def _torch_index() -> list[str]:
    """Where pip finds PyTorch: for Linux there is a build without CUDA, 5 GB smaller, at an address of its own."""
    if not sys.platform.startswith("linux") or _has_nvidia_gpu():
        return []
    try:
        with urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=5):
            pass
    except (OSError, ValueError) as error:  # no network, a proxy that refuses, or a mirror of PyPI only
        print(f"PyTorch comes with CUDA (5 GB): {CPU_INDEX} cannot be reached ({error}).", flush=True)
        return []
    print("No NVIDIA GPU was found: PyTorch comes without CUDA (5 GB less).", flush=True)
    return ["--extra-index-url", CPU_INDEX]


def _has_nvidia_gpu() -> bool:
    return Path("/proc/driver/nvidia/gpus").exists() or shutil.which("nvidia-smi") is not None


def _install_system_packages(packages: list[str]) -> None:
    """Install Debian packages that are missing; where we may not, say which command would."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-query"):
        return
    missing = [name for name in packages if not _has_package(name)]
    if not missing:
        return
    as_root = [] if os.geteuid() == 0 else (["sudo"] if shutil.which("sudo") else None)
    command = f"apt-get install --yes --no-install-recommends {' '.join(missing)}"
    if as_root is None:
        print(f"These system packages are missing. Ask an administrator to run: {command}", file=sys.stderr)
        return
    print(f"Installing system packages: {' '.join(missing)}", flush=True)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run([*as_root, "apt-get", "update"], check=False, **quiet)
    if subprocess.run([*as_root, *command.split()], check=False, **quiet).returncode:
        print(f"Some system packages could not be installed. The command was: {command}", file=sys.stderr)


def _has_package(name: str) -> bool:
    query = subprocess.run(["dpkg-query", "-W", "-f=${Status}", name], capture_output=True, text=True, check=False)
    return "install ok installed" in query.stdout


def _venv_package() -> list[str]:
    """Debian splits ``venv`` off; its package has the version of the interpreter in its name."""
    split_off = importlib.util.find_spec("ensurepip") is None
    return [f"python{sys.version_info.major}.{sys.version_info.minor}-venv"] if split_off else []


def run_tests(pytest: list[str], arguments: list[str]) -> int:
    """All tests: those with windows in two processes, the others beside them in a third one.

    Parameters
    ----------
    pytest
        The command that starts pytest.
    arguments
        For pytest; with any, there is one process only.

    Returns
    -------
    int
        Exit code: 0 when all tests passed.
    """
    options: dict[str, Any] = {"cwd": ROOT, "env": _test_environment()}
    if arguments:
        return subprocess.call([*_virtual_screen(), *pytest, *arguments], **options)
    # what must pass before a change is merged does the same each time; pytest alone takes a random order
    options["env"] = {**options["env"], "PYTEST_ADDOPTS": f"{os.environ.get('PYTEST_ADDOPTS', '')} -p no:randomly"}
    with contextlib.ExitStack() as stack:
        beside = []
        windows = [[*_later(), *_virtual_screen(), *pytest, *part] for part in WINDOWS]
        for command in ([*pytest, "--ignore=test/window"], windows[1]):
            report = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(command, stdout=report, stderr=subprocess.STDOUT, **options)
            stack.callback(process.kill)
            beside.append((process, report))
        print("Two further parts of the tests run meanwhile; their reports come after this one.", flush=True)
        codes = [subprocess.call(windows[0], **options)]
        for process, report in beside:
            codes.append(process.wait())
            report.seek(0)
            sys.stdout.buffer.write(report.read())
            sys.stdout.flush()
    return next((code for code in codes if code), 0)


def _later() -> list[str]:
    """The tests without windows take longest: a little more of the processor, and no core is idle at the end."""
    return ["nice", "-n", "2"] if shutil.which("nice") else []


def _virtual_screen() -> list[str]:
    """The windows of the tests open on a screen of their own on Linux, so that a user's mouse does not disturb."""
    # -r: without auto-repeat, which on a busy machine would press a key several times
    return ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24 -r"] if shutil.which("xvfb-run") else []


def _test_environment() -> dict[str, str]:
    # Threads that wait for a core which another process has slow both down.
    # numba, by which napari colours labels, would otherwise give torch as many threads as there are cores, too.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(max(1, (os.cpu_count() or 1) // 2)))
    software = {"LIBGL_ALWAYS_SOFTWARE": "1"} if sys.platform.startswith("linux") else {}
    # Tests start a hundred processes: each would compile the whole package anew.
    given = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**threads, **given, **software}


if __name__ == "__main__":
    raise SystemExit(main())
