"""Run check_data.py: `python -m data.check CONFIG`."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parents[1] / "check_data.py"), run_name="__main__")
