"""The commands, and a room for each subject: CONTRIBUTING.md gives their order."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
BATCH = 32  # photos that a network computes at once; of a training step, too


def from_root(path: str) -> Path:
    """A path out of the environment, absolute: one that is relative is looked up from where this
    process works, then from the project's root, since notebooks work in notebooks/.
    """
    here = Path(path).expanduser()
    return (here if here.is_absolute() or here.exists() else ROOT / here).resolve()


class UserError(Exception):
    """Something the user can mend; its text is one sentence: what is wrong and what to do next."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback (IPython looks for this method)."""
        return [f"{type(self).__name__}: {self}"]
