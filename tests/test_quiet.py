"""What C++ prints on the way."""

import os

import pytest

from mobilenet.quiet import quiet


def test_chatter_is_kept_unless_it_may_say_why(capfd):
    def chat():
        print("Python")
        os.write(1, b"C out\n")
        os.write(2, b"C err\n")

    with quiet():
        chat()
    with pytest.raises(KeyError), quiet(KeyError):
        chat()
        raise KeyError
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError, match="why"), quiet(KeyError):
        chat()
        raise ValueError("why")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "Python\nC out\nC err\n")
