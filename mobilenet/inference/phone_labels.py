"""The names of classes in a LiteRT file as MediaPipe and Android read them.

A flatbuffer under "TFLITE_METADATA" says that the output's numbers are named by `labels.txt`, one
a line, which lies in a zip archive at the end of the file (TensorFlow Lite's metadata schema,
version 1.0.0). MediaPipe's image classifier shows these names.
"""

import io
import zipfile
from collections.abc import Sequence

import flatbuffers

ENTRY = "TFLITE_METADATA"
FILE = "labels.txt"
AXIS_LABELS, IMAGE, RGB = 2, 2, 1  # of the schema's lists of kinds


def metadata() -> bytes:
    """The flatbuffer: one photo in RGB in, a number for each line of labels.txt out."""
    builder = flatbuffers.Builder()

    def text(value: str) -> int:
        return builder.CreateString(value)

    def table(slots: int, **fields: int) -> int:
        """A table of so many fields, `f3=offset` for the fourth, `b2=number` for a byte."""
        builder.StartObject(slots)
        for name, value in fields.items():
            kind, slot = name[0], int(name[1:])
            if kind == "b":
                builder.PrependInt8Slot(slot, value, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return builder.EndObject()

    def vector(one: int) -> int:
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(one)
        return builder.EndVector()

    image = table(2, b0=RGB)
    content = table(3, b0=IMAGE, f1=image)
    photo = table(7, f0=text("photo"), f3=content)
    file = table(5, f0=text(FILE), b2=AXIS_LABELS)
    answer = table(7, f0=text("probability"), f6=vector(file))
    graph = table(10, f2=vector(photo), f3=vector(answer))
    model = table(8, f3=vector(graph), f7=text("1.0.0"))
    builder.Finish(model, file_identifier=b"M001")
    return bytes(builder.Output())


def with_labels(data: bytes, names: Sequence[str]) -> bytes:
    """A LiteRT file with the archive at its end that holds the names, a line each."""
    lines = "".join(" ".join(name.splitlines()) + "\n" for name in names)
    both = io.BytesIO(data)
    with zipfile.ZipFile(both, "a") as archive:
        archive.writestr(zipfile.ZipInfo(FILE), lines.encode("utf-8", "replace"))
    return both.getvalue()


def read_labels(data: bytes) -> list[str]:
    """The names at the end of a LiteRT file of whoever made it; none if there are none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            (info,) = (one for one in archive.infolist() if one.filename.endswith(".txt"))
            if info.file_size > len(data):
                return []
            return archive.read(info).decode("utf-8-sig").split("\n")
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError):
        return []
