"""What is imported before a window is seen."""

from __future__ import annotations

import subprocess
import sys


def test_the_tools_are_imported_without_what_the_window_need_not_wait_for():
    """torch takes a second, scipy.ndimage and pandas a sixth each: they come when the window is there."""
    code = (
        "import sys\n"
        "from micro_sam.sam_annotator import annotator_tracking, image_folder_annotator\n"
        "from micro_sam.sam_annotator.controller.window import Window\n"
        "print({'torch', 'scipy.ndimage', 'pandas', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
