"""A labelled set of photos, decoded: their files, pixels, labels and the names of the classes."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from mobilenet import UserError
from mobilenet.system import cache


@dataclass(frozen=True)
class Photos:
    """A labelled set of photos, decoded.

    files: N paths below the folder, as text with forward slashes, sorted folder by folder.
    images: uint8, (N, size, size, 3), RGB, 0 to 255: an array, or `cache.Rows` of the file that
    they are kept in, of which images[:] is an array.
    labels: int64, (N,), index into class_names: the folder's class, unless decided otherwise.
    class_names: K names, as `ordered` has them; class_names[1] is the positive class.
    left_out: (file, reason) for each file that is not used: photos that could not be read or are
    not wanted, then files that are no photos. hidden: how many hidden files there are beside.
    sums: sha256 of each file, in hexadecimal, if `load_photos` read it; of a subset those of all.
    duplicates: of each file that shows the same picture as others, the first of them, as
    `duplicates.find` has them; of a subset those of all.
    frames: the files that are alike since a camera does not move, as `duplicates.apart` finds them;
    of a subset those of all.
    folder_classes: of each file that `load_photos` read its class, as its folder or a table says.
    given: of each file its part, "train", "val" or "test", if the folder gives a split; else {}.
    said: sentences about how the folder was read, if it does not simply hold class folders.
    """

    files: tuple[str, ...]
    images: np.ndarray | cache.Rows
    labels: np.ndarray
    class_names: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    sums: dict[str, str] = field(default_factory=dict, repr=False)
    duplicates: dict[str, str] = field(default_factory=dict, repr=False)
    frames: frozenset[str] = field(default=frozenset(), repr=False)
    hidden: int = 0
    folder_classes: dict[str, str] = field(default_factory=dict, repr=False)
    given: dict[str, str] = field(default_factory=dict, repr=False)
    said: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def subset(self, index: np.ndarray) -> "Photos":
        """The photos at these positions, in this order."""
        files = tuple(self.files[i] for i in index)
        kept = isinstance(self.images, cache.Rows)
        images = self.images.take(index) if kept else self.images[index]
        return replace(self, files=files, images=images, labels=self.labels[index])

    @property
    def groups(self) -> np.ndarray:
        """A number for each photo, int64 (N,): the same for photos that show the same picture."""
        firsts = [self.duplicates.get(file, file) for file in self.files]
        return np.unique(firsts, return_inverse=True)[1].astype(np.int64)

    @property
    def corrected(self) -> tuple[str, ...]:
        """The files whose label is not that of their folder, by `corrections.decide`."""
        return tuple(
            file
            for file, label in zip(self.files, self.labels, strict=True)
            if file in self.sums and self.folder_classes[file] != self.class_names[label]
        )


def ordered(names: Iterable[str], positive: str | None = None) -> tuple[str, ...]:
    """The names of classes, sorted, but for the positive one, which comes second: it has label 1,
    and of that Keras's sigmoid(logit) is the probability.

    positive: its name; None: of two classes the first in alphabetical order, of more the second.
    Raises UserError if no class has that name.
    """
    found = sorted(names)
    if positive is None and len(found) == 2:
        positive = found[0]
    if positive is not None:
        if positive not in found:
            raise UserError(f"No class is called {positive!r}: choose one of {', '.join(found)}.")
        found.remove(positive)
        found.insert(1, positive)
    return tuple(found)
