"""OME-TIFF images that are spread over several files."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from micro_sam.errors import InputError

MOST_TEXT = 2**26  # bytes of OME-XML


def ome_xml(path: Path) -> str | None:
    """The OME-XML of a tif, or of a file ``*.companion.ome``; None when there is none."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        text = path.read_bytes()[:MOST_TEXT].decode("utf-8", "replace")
        return _safe(text, path) if "<OME" in text or ":OME" in text else None
    if head[:2] not in (b"II", b"MM"):
        return None
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            described = file.pages.first.description if file.is_ome else None
    except Exception:  # not a tif that can be read: whoever opens it says so
        return None
    return None if described is None else _safe(described, path)


def files_of_set(path: Path) -> list[Path]:
    """The files of the OME-TIFF that a file belongs to, in the order of the metadata; empty for a file of its own."""
    return describe_set(path)[0]


def describe_set(path: Path) -> tuple[list[Path], str | None]:
    """The files of a set, as `files_of_set`, and its OME-XML where that lies in a file without pixels.

    Raises
    ------
    InputError
        When some of them are missing; the message names them.
    """
    xml = ome_xml(path)
    if xml is None:
        return [], None
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return [], None
    master = next((e.get("MetadataFile") for e in root.iter() if _tag(e) == "BinaryOnly"), None)
    if master:
        other = _beside(path, master)
        if not other.is_file():
            raise InputError(
                f"{path} is part of an image whose description is in {master}, but that file is missing in "
                f"{path.parent}. Copy it there as well."
            )
        if other.resolve() == path.resolve():
            return [], None
        return describe_set(other)
    own = root.get("UUID")
    names: dict[str, Path] = {}
    for element in root.iter():
        name = element.get("FileName")
        if _tag(element) == "UUID" and name:
            is_own = own is not None and (element.text or "").strip() == own  # whatever the file is called now
            names[name] = path if is_own and not _beside(path, name).is_file() else _beside(path, name)
    files = list(dict.fromkeys(names.values()))
    if len(files) < 2 and not xml_only(path):
        return [], None
    missing = [one.name for one in files if not one.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"{path} is one of {len(files)} files of an OME-TIFF, but {', '.join(missing[:3])}{more} "
            f"{'is' if len(missing) == 1 else 'are'} missing in {path.parent}. Copy all files of the set there."
        )
    return files, xml if xml_only(path) else None


def xml_only(path: Path) -> bool:
    """Whether a file holds the description of a set, and no pixels."""
    with open(path, "rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")


def without_members(paths: list[Path]) -> list[Path]:
    """Files of which every set of OME-TIFFs is named once, by its first file.

    Raises
    ------
    InputError
        When a set is not complete.
    """
    kept: list[Path] = []
    known: set[Path] = set()
    for path in paths:
        if path.resolve() in known:
            continue
        kept.append(path)
        if path.is_file():
            known.update(one.resolve() for one in files_of_set(path))
    return kept


def _safe(xml: str, path: Path) -> str:
    """The text, unless it defines entities, which could be expanded to any size."""
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise InputError(f"The OME-XML of {path} has a document type (DOCTYPE), which is refused. Save it without.")
    return xml


def _beside(path: Path, name: str) -> Path:
    """The file of this name in the same folder; a name in the metadata never leads out of it."""
    return path.with_name(Path(name.replace("\\", "/")).name)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
