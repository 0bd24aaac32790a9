"""Build the wheel, or take the one that is named, and use it from a clean virtual environment.

Nothing may be missing, nothing may come along.

The dependencies are borrowed from the environment that runs this script (installing them again takes minutes and
shows nothing new); the package itself must come from the wheel.
"""

import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

USE_IT = """
import micro_sam, sys
from pathlib import Path
assert Path(micro_sam.__file__).is_relative_to(sys.prefix), micro_sam.__file__
import numpy as np
from micro_sam.util import get_sam_model
from micro_sam.prompt_based_segmentation import segment_from_points
from micro_sam.util import precompute_image_embeddings
predictor = get_sam_model("nano_lm")
image = np.zeros((96, 128), "uint8"); image[30:60, 40:80] = 200
embeddings = precompute_image_embeddings(predictor, image, verbose=False)
mask = segment_from_points(predictor, np.array([[45, 60]]), np.array([1]), embeddings)
assert mask.shape == (1, 96, 128) and mask.any()
print("the wheel works:", micro_sam.__file__)
"""


def _built(out: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = out.glob("*.whl")
    return wheel


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        wheel = Path(sys.argv[1]) if len(sys.argv) > 1 else _built(out)
        names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert {name for name in names if not name.endswith(".dist-info")} == {"micro_sam"}, names
        venv.create(out / "env", with_pip=False)  # the pip that we have installs into it
        python = out / "env" / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, wheel], check=True)
        # a .pth file puts the borrowed folder behind the environment's own, so the wheel wins over an editable install
        (site_packages,) = (out / "env" / "lib").glob("python*/site-packages")
        (site_packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        subprocess.run([python, "-c", USE_IT], check=True, cwd=folder)
        subprocess.run([out / "env" / "bin" / "micro_sam.info"], check=True, cwd=folder, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
