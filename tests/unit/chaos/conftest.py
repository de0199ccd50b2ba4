"""scripts/chaos is no part of the installed package, so its tests find it in the clone."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
