"""Figures of merit. A front door for scripts of micro-sam 1.x; the code is in ``metrics`` and ``compat.evaluation``."""

from micro_sam.compat.evaluation import run_evaluation_for_iterative_prompting
from micro_sam.evaluation.metrics import run_evaluation

__all__ = ["run_evaluation", "run_evaluation_for_iterative_prompting"]
