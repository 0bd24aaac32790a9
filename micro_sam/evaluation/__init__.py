"""Figures of merit: of label images, and of interactive segmentation by a simulated person."""


def __getattr__(name: str):
    """Import on first use: pandas and elf take a second that a command's ``-h`` need not pay."""
    if name == "run_evaluation":
        from micro_sam.evaluation.metrics import run_evaluation

        return run_evaluation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["run_evaluation"]
