"""``python -m micro_sam``: set up a fresh machine and try or test the program (see ``micro_sam/cli/bootstrap.py``)."""

from micro_sam.cli.bootstrap import main

if __name__ == "__main__":
    raise SystemExit(main())
