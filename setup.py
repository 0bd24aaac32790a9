"""Metadata and dependencies; ruff's and pytest's settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (ROOT / "micro_sam" / "__init__.py").read_text()).group(1)

COMMANDS = [
    "annotator_2d",
    "annotator_3d",
    "annotator_tracking",
    "image_series_annotator",
    "automatic_segmentation",
    "precompute_embeddings",
    "train",
    "evaluate",
    "export",
    "info",
]

setup(
    name="micro_sam",
    version=VERSION,
    description="Interactive segmentation and tracking of microscopy images with Segment Anything",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["micro_sam", "micro_sam.*"]),
    package_data={"micro_sam": ["py.typed", "models/weights/*", "training/recipes/*"]},
    install_requires=[
        "filelock",  # two processes that want the same download
        "geff",  # tracks in the field's exchange format
        "h5py",
        "imagecodecs",  # tif files with LZW, JPEG, zstd and other compression
        "imageio",
        "magicgui>=0.9",
        "napari[pyqt6]>=0.5.5",
        "numpy",
        "pandas",
        "pillow",
        "platformdirs",  # the operating system's cache directory
        "psygnal>=0.10",  # signals without Qt, for the headless session
        "python-elf>=0.9",
        "safetensors",  # weights without pickle
        "scikit-image",
        "scipy",
        "segment-anything>=1.0",
        "tifffile",
        "torch>=2.6",  # older ones can be made to run code by a file of weights (CVE-2025-32434)
        "torchvision",
        "tqdm",
        "xxhash",  # hashes a stack at memory speed
        "zarr>=3",
    ],
    extras_require={
        # image encoders in other runtimes, see micro_sam/models/backends.py
        "onnx": ["onnx", "onnxruntime"],
        "openvino": ["onnx", "openvino"],
        # bioimageio.spec 0.5.12 fails with pydantic 2.14
        "export": ["onnx", "onnxruntime", "bioimageio.core", "pydantic<2.14"],
        # readers and writers of tracks that are not ours, and a writer of mrc
        "readers": [
            "btrack",
            "funtracks>=2.2",
            "laptrack",
            "mrcfile",
            "py-ctcmetrics",
            "pytrackmate",
            "traccuracy>=0.4",  # the newest click would bring an older one
        ],
        # files of microscope makers and ROIs of ImageJ, see micro_sam/io/formats; all are under the BSD licence
        "formats": ["czifile", "liffile", "nd2", "roifile"],
        # workers on other machines, see docs/cluster.md
        "cluster": ["bokeh>=3.1", "dask-jobqueue>=0.9", "distributed"],
        "test": [
            "pytest>=8",
            "pytest-timeout",
            "ruff",
            "mypy>=2.4,<2.5",  # a newer one may find more
            # contracts of pyproject.toml; 2.10 wants a web server, and from 2.17 on another click than traccuracy
            "import-linter>=2.9,!=2.10,<2.17",
            "click<8.2",  # so that pip need not try versions for minutes
            "build",
            "mobilesam-mirror",
            "psutil",
            "micro_sam[cluster,export,formats,readers]",
        ],
    },
    entry_points={"console_scripts": [f"micro_sam.{name} = micro_sam.cli.{name}:main" for name in COMMANDS]},
)
