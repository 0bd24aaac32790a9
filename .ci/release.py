"""Build the files of a release into ``dist/`` and check them: python .ci/release.py

Wheel and source distribution are made from the checkout, the wheel is used from a clean environment
(``check_wheel.py``), and ``dist/SHA256SUMS`` holds the hash of each. A folder ``dist`` that is
there already is left alone.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Returns the exit code."""
    dist = ROOT / "dist"
    if dist.exists():
        print(f"{dist} is there already. Move it away, so that no file of another release is mixed in.")
        return 1
    subprocess.run([sys.executable, "-m", "build", "--outdir", dist, ROOT], check=True, stdout=subprocess.DEVNULL)
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    names = {Path(*Path(name).parts[1:]).as_posix() for name in tarfile.open(source).getnames()}
    missing = {"pyproject.toml", "README.md", "LICENSE", "micro_sam/models/weights/nano_lm.safetensors"} - names
    if missing:
        print(f"The source distribution lacks {', '.join(sorted(missing))}.")
        return 1
    subprocess.run([sys.executable, ROOT / ".ci" / "check_wheel.py", wheel], check=True)
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in (wheel, source))
    (dist / "SHA256SUMS").write_text(sums)
    print(sums, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
