"""Names of programs, for labels and references."""

import pytest

from greenai_core import program_name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("folder/train.py", "--token", "secret"), "train.py"),
        (("-m", "package.evaluate", "secret"), "package.evaluate"),
        (("/usr/bin/python3", "a/b/c.py", "secret"), "c.py"),
        (("python3.11", "-u", "-X", "dev", "c.py"), "c.py"),
        (("python", "-m", "json.tool", "secret"), "json.tool"),
        (("python", "-c", "print('secret')"), "python"),
        (("python",), "python"),
        (("python", "-m"), "python"),
        (("./classify", "secret.jpg"), "classify"),
        (("-m",), "command"),
        (("/",), "command"),
        ((), "command"),
    ],
)
def test_a_program_is_called_by_its_own_name(command, name):
    """Two modules are two references, and neither is called ``-m``."""
    assert program_name(command) == name
