"""``micro_sam.bioimageio`` with the calls of micro-sam 1.8."""

import pytest

from micro_sam.errors import InputError


def test_a_package_for_the_zoo_is_named_and_checked(tmp_path):
    from micro_sam.bioimageio import export_sam_model

    with pytest.raises(InputError, match="model card"):
        export_sam_model(None, None, "nano_lm", "mine", tmp_path, tags=["a"])
