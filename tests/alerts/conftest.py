"""The real Alertmanager is started by what the end-to-end tests start it with."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "e2e"))
