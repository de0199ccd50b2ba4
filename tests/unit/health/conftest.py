"""These tests share a snapshot with those of tests/functional, so they find it in the clone."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
