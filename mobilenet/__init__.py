"""What the notebooks compute with: costs, photos, backbone, features, training, prediction."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"


class UserError(Exception):
    """Something the user can mend; its text is one sentence: what is wrong and what to do next."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback (IPython looks for this method)."""
        return [f"{type(self).__name__}: {self}"]
