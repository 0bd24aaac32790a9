"""The documentation is true: its code runs, its commands exist with their options, its links and pictures are there.

A code block that needs what a test does not have (a window, a GPU, conda, a scheduler) is marked by the line before it,
``<!-- needs: window -->``, and only compiled.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import re
import shlex
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
PAGES = [ROOT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if ".site" not in page.parts)]
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
LARGEST_PICTURE = 200_000  # bytes

# Options of other programs that the pages name in passing.
FOREIGN = {"--cpus-per-task", "--mem", "--gres", "--no-deps", "--array", "--strict"}
OTHER_PROGRAMS = {"pip", "mamba", "source", ".", "cd", "git", "zensical", "py", "python"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    needs: str


def blocks(page: Path, language: str) -> list[Block]:
    found, lines, k = [], page.read_text().splitlines(), 0
    while k < len(lines):
        fence = re.match(r"( *)```(\w*)", lines[k])
        if not fence:
            k += 1
            continue
        end = next(i for i in range(k + 1, len(lines)) if lines[i].strip() == "```")
        mark = re.match(r" *<!-- needs: (\w+) -->", lines[k - 1]) if k else None
        text = "\n".join(line.removeprefix(fence[1]) for line in lines[k + 1 : end])
        found.append(Block(page, k + 1, fence[2], text, mark[1] if mark else ""))
        k = end + 1
    return [block for block in found if block.language == language]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.M | re.S)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---------------------------------------------------------------- code


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The files that the pages name, small."""
    import tifffile

    from micro_sam.sample_data.synthetic import dividing_cells, nuclei_volume

    folder = tmp_path_factory.mktemp("files")
    volume, _ = nuclei_volume((8, 160, 160))
    tifffile.imwrite(folder / "image.tif", volume[4])
    tifffile.imwrite(folder / "volume.tif", volume[2:7, :48, :48], imagej=True, metadata={"axes": "ZYX"})
    movie, _, _ = dividing_cells((2, 96, 96), n_cells=3, n_divisions=0)
    tifffile.imwrite(folder / "movie.tif", movie, imagej=True, metadata={"axes": "TYX"})
    return folder


@pytest.fixture
def some_files(files, tmp_path, monkeypatch):
    """A folder of its own with these files."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_of_a_page_runs_from_top_to_bottom(page, some_files):
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        code = compile("\n" * block.line + block.text, str(page), "exec")
        if not block.needs:
            exec(code, names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_notebooks_run(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    names: dict[str, object] = {"__name__": "__main__"}
    book = json.loads(notebook.read_text())
    for number, cell in enumerate(book["cells"]):
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "a notebook is stored without outputs"
            source = "".join(cell["source"]).replace("--workers 2", "--workers 1")  # a second one shows nothing new
            exec(compile(source, f"{notebook.name}, cell {number}", "exec"), names)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_examples_call_the_tools_with_arguments_that_they_take(script, monkeypatch):
    """All functions of the example; the windows themselves are opened in ``test/window/test_examples.py``."""
    import micro_sam.sam_annotator as tools

    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    calls = []
    for tool in ("annotator_2d", "annotator_3d", "annotator_tracking", "image_series_annotator"):
        if hasattr(module, tool):
            signature = inspect.signature(getattr(tools, tool))
            record = lambda *args, signature=signature, **kwargs: calls.append(signature.bind(*args, **kwargs))  # noqa: E731
            monkeypatch.setattr(module, tool, record)
    if hasattr(module, "image_folder_annotator"):
        one, folder = (
            inspect.signature(getattr(tools, t)) for t in ("image_series_annotator", "image_folder_annotator")
        )

        def record_folder(*args, **kwargs):
            bound = folder.bind(*args, **kwargs)
            one.bind([], "", **bound.arguments.get("kwargs", {}))
            calls.append(bound)

        monkeypatch.setattr(module, "image_folder_annotator", record_folder)
    functions = [f for _, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == script.stem]
    for function in functions:
        needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
        function(*["image.tif"] * len(needed))
    assert len(calls) == len(functions) >= 1


# ---------------------------------------------------------------- commands


class Parsed(Exception):
    """The arguments were understood; nothing is done with them."""


@pytest.fixture
def only_parses(monkeypatch):
    """Commands end when their arguments are parsed; the parsers that were used are collected."""
    parsers = []
    understood = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        parsers.append(self)
        understood(self, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    return parsers


def commands(block: Block) -> list[list[str]]:
    """The commands of a shell block as lists of words."""
    text = re.sub(r"\\\n", " ", block.text)
    found = []
    for line in text.splitlines():
        for part in line.split("&&"):
            part = re.sub(r"\$\{?\w+\}?", "3", part)
            words = shlex.split(part.strip().removeprefix(".venv/bin/"), comments=True)
            if words and words[0] == "xvfb-run":
                words = words[next(k for k, word in enumerate(words) if word.startswith("micro_sam.")) :]
            if words:
                found.append(words)
    return found


def parse(words: list[str]) -> None:
    """Give the words to the command's own parser."""
    main = importlib.import_module(f"micro_sam.cli.{words[0].removeprefix('micro_sam.')}").main
    with pytest.raises(Parsed):
        main(words[1:])


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")], ids=name)
def test_commands_of_a_page_exist_with_their_options(page, only_parses, capsys):
    for block in blocks(page, "bash"):
        for words in commands(block):
            where = f"{name(page)}, line {block.line}: {' '.join(words)}"
            try:
                if words[0].startswith("micro_sam."):
                    parse(words)
                elif words[:3] == ["python3", "-m", "micro_sam"]:
                    assert words[3:] in (["try"], ["test"]), where
                elif words[0] == "python3":
                    assert words[1:3] == ["-m", "venv"], where
                elif words[0] == "python" and words[1].endswith(".py"):
                    assert (ROOT / words[1]).exists(), where
                else:
                    assert words[0] in OTHER_PROGRAMS, where
            except SystemExit:
                pytest.fail(f"{where}\n{capsys.readouterr().err}")


def test_options_that_the_text_names_exist(only_parses):
    modules = [p.stem for p in (ROOT / "micro_sam" / "cli").glob("[a-z]*.py") if p.stem not in ("bootstrap", "demo")]
    known: dict[str, set[str]] = {}
    for module in modules:
        del only_parses[:]
        with pytest.raises(Parsed):
            importlib.import_module(f"micro_sam.cli.{module}").main(_required(module))
        known[module] = {option for parser in only_parses for option in parser._option_string_actions}
    every = set().union(*known.values())
    for page in PAGES:
        for code in re.findall(r"`([^`]+)`", prose(page)):
            words = code.split()
            command = next((w.removeprefix("micro_sam.") for w in words if w.startswith("micro_sam.")), "")
            allowed = known.get(command, every)
            if words[0].startswith("--") or command in known:
                options = {word.split("=")[0].rstrip(",") for word in words if word.startswith("--")}
                assert options <= allowed | FOREIGN, f"{name(page)}: {code}"


def test_the_page_of_all_options_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.setenv("COLUMNS", "100")
    tables = importlib.import_module("option_tables")
    assert tables.PAGE.read_text() == tables.page(), "run python docs/option_tables.py"


def _required(module: str) -> list[str]:
    """Arguments without which a command does not start."""
    return {
        "automatic_segmentation": ["-i", "a", "-o", "b"],
        "precompute_embeddings": ["-i", "a", "-o", "b"],
        "image_series_annotator": ["-i", "a", "-o", "b"],
        "evaluate": ["-l", "a", "-s", "b"],
        "export": ["-o", "a"],
        "measure": ["-s", "a", "-o", "b.csv"],
        "replay": ["a", "-i", "b"],
    }.get(module, [])


# ---------------------------------------------------------------- links, pictures, words


def slugs(page: Path) -> set[str]:
    """Anchors of a page, as the site makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures_of_a_page_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name(page)}: {target}"
        if anchor:
            assert anchor in slugs(file), f"{name(page)}: {target}"


def test_every_page_is_in_the_navigation_and_every_picture_on_a_page():
    nav = json.dumps(tomllib.loads((DOCS / "zensical.toml").read_text())["project"]["nav"])
    listed = set(re.findall(r'"([\w/]+\.md)"', nav))
    assert listed == {page.relative_to(DOCS).as_posix() for page in PAGES if page.parent != ROOT}
    text = "\n".join(page.read_text() for page in PAGES)
    for picture in (DOCS / "images").iterdir():
        assert f"images/{picture.name}" in text, f"{picture.name} is on no page"
        assert picture.stat().st_size < LARGEST_PICTURE, picture.name


def test_keys_are_those_of_the_tools(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    tables = importlib.import_module("option_tables")
    assert tables.KEYS.read_text() == tables.keys_page(), "run python docs/option_tables.py"


# In italics on the pages of the windows, and no captions: what the status line says.
NO_CAPTIONS = {"nano_lm is ready"}

# What has another word in this program: synonym -> the word.
SYNONYMS = {
    r"time ?points?|time ?steps?": "frame",
    r"z-?slices?|z-?planes?|z-?layers?": "slice",
    r"trajector(y|ies)": "track",
    r"mitos[ie]s|lineage trees?": "division, lineage",
    r"patch(es)?": "tile",
    r"scribbles?": "brush stroke",
    r"persons?": "user",
    r"picked|at work": "selected, active",
}


def captions() -> set[str]:
    """All texts of the windows that may be a caption, without their keys."""
    tool = ROOT / "micro_sam" / "sam_annotator"
    files = [*(tool / "view").rglob("*.py"), *(tool / "state").glob("*.py")]
    files += [tool / "controller" / table for table in ("action_table.py", "stack_rows.py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for node in (node for node in nodes if isinstance(node, ast.JoinedStr)):
        texts.add("".join(str(part.value) if isinstance(part, ast.Constant) else "{noun}" for part in node.values))
    named = {text.replace("{noun}", noun).replace("{part}", "Object") for text in texts for noun in ("object", "track")}
    # and the entries of napari's menus
    entries = re.findall(r"display_name: ([^,}\n]+)", (ROOT / "micro_sam" / "napari.yaml").read_text())
    return {re.sub(r" *(\[.*\]|:)$", "", text) for text in named} | set(entries)


def test_captions_that_the_pages_of_the_windows_quote_exist():
    known, quoted = captions() | NO_CAPTIONS, {}
    for page in (page for page in PAGES if page.parent.name in ("tools", "tutorials")):
        for caption in re.findall(r"(?<![*\w])\*(?! )([^*\n]+?)\*(?![*\w])", prose(page)):
            quoted.setdefault(caption, name(page))
    assert len(quoted) > 40
    assert {caption: page for caption, page in quoted.items() if caption not in known} == {}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_thing_has_one_word(page):
    for synonym, word in SYNONYMS.items():
        found = re.search(rf"\b({synonym})\b", prose(page), re.I)
        assert found is None, f"{name(page)}: {found[0]!r} is called {word!r}"


def test_nothing_names_the_development_images():
    for path in [*PAGES, *NOTEBOOKS, *SCRIPTS, DOCS / "screenshots.py", DOCS / "zensical.toml"]:
        assert "../shared" not in path.read_text(), name(path)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
