"""A fix is found wherever a box could show it, and not where it is not."""

from __future__ import annotations

import gzip
import io
import marshal
import py_compile
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from munro.envs.swe_build.leaks import bytecode, fix_of, scan
from munro.envs.swe_build.proposal import Proposal

OLD = b'''"""Words."""


def longest(words):
    """The longest word of a list."""
    best = ""
    for word in words:
        if len(word) > len(best):
            best = word
    return best


def joined(words, separator):
    return separator.join(str(word) for word in words)
'''
NEW = OLD.replace(b"len(word) > len(best)", b"len(word) >= len(best)").replace(
    b'    best = ""\n',
    b'    if words is None:\n        raise TypeError("no words")\n    best = ""\n',
)
TESTS = b"""from words import longest


def test_ties():
    assert longest(["ab", "cd"]) == "cd"


def test_none():
    with raises(TypeError):
        longest(None)
"""
PROPOSAL = Proposal(
    id="words-1", kind="merge", rev="0" * 40, seconds=0,
    gold={"words.py": NEW}, tests={"test_words.py": TESTS},
)  # fmt: skip
CODE = compile(NEW, "words.py", "exec")
FIX = fix_of(PROPOSAL, {"words.py": OLD}, names=["Words_Lib"])


def write(path: Path, contents: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)


def compiled(path: Path, source: bytes = NEW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.parent.parent / "source.txt"
    text.write_bytes(source)
    py_compile.compile(str(text), cfile=str(path), doraise=True)
    text.unlink()


def zipped(path: Path, name: str = "words.py", contents: bytes = NEW) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, contents)
    write(path, packed.getvalue())


def tarred(path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("words.py")
        info.size = len(NEW)
        archive.addfile(info, io.BytesIO(NEW))
    write(path, packed.getvalue())


def wheel_in_zip(path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("words.py", NEW)
    zipped(path, "inner.whl", inner.getvalue())


PLANTED: dict[str, Callable[[Path], None]] = {
    "site-packages": lambda box: write(box / "site-packages/words.py", NEW),
    "another name": lambda box: write(box / "site-packages/other/thing.py", NEW),
    "no ending": lambda box: write(box / "share/thing", NEW),
    "dist-packages": lambda box: write(box / "dist-packages/words/__init__.py", NEW),
    "vendored by pip": lambda box: write(box / "site-packages/pip/_vendor/words.py", NEW),
    "indented": lambda box: write(
        box / "a.py", b"".join(b"    " + x + b"\n" for x in NEW.split(b"\n"))
    ),
    "line ends of Windows": lambda box: write(box / "a.py", NEW.replace(b"\n", b"\r\n")),
    "blank lines between": lambda box: write(box / "a.py", NEW.replace(b"\n", b"\n\n")),
    "compiled": lambda box: compiled(box / "site-packages/__pycache__/words.cpython-311.pyc"),
    "compiled, another name": lambda box: compiled(box / "x/cache/a.pyc"),
    "build": lambda box: write(box / "repo/build/lib/words.py", NEW),
    "egg-info": lambda box: write(box / "repo/words_lib.egg-info/PKG-INFO", b"Name: words-lib\n"),
    "egg-info's sources": lambda box: write(box / "repo/x.egg-info/SOURCES.txt", NEW),
    "dist-info": lambda box: write(box / "site-packages/words_lib-2.0.dist-info/METADATA", b""),
    "a wheel by its name": lambda box: write(box / "wheels/words.lib-2.0-py3-none-any.whl", b"x"),
    "an sdist by its name": lambda box: write(box / "cache/words-lib-2.0.tar.gz", b"x"),
    "inside a wheel": lambda box: zipped(box / "wheels/other-1.0-py3-none-any.whl"),
    "a wheel in a zip": lambda box: wheel_in_zip(box / "all.zip"),
    "compiled in an egg": lambda box: zipped(box / "a.egg", "words.pyc", marshal.dumps(CODE)),
    "inside a tar": lambda box: tarred(box / "other.tar.gz"),
    "documentation": lambda box: write(box / "usr/share/doc/words/changes.gz", gzip.compress(NEW)),
    "the hidden tests": lambda box: write(box / "site-packages/tests/test_w.py", TESTS),
    "escaped": lambda box: write(
        box / "a.html", NEW.replace(b">", b"&gt;").replace(b'"', b"&quot;")
    ),
    "a patch": lambda box: write(
        box / "fix.diff", b"".join(b"+" + line + b"\n" for line in NEW.split(b"\n"))
    ),
    "a page": lambda box: write(box / "doc/notes.html", b"<pre>\n" + NEW + b"</pre>\n"),
}


@pytest.mark.parametrize("where", PLANTED)
def test_a_planted_copy_is_found(tmp_path, where):
    write(tmp_path / "repo/words.py", OLD)
    assert scan([tmp_path], {"words-1": FIX}) == {}
    PLANTED[where](tmp_path)
    assert scan([tmp_path], {"words-1": FIX})["words-1"]


def test_what_the_base_has_and_what_others_wrote_is_no_leak(tmp_path):
    write(tmp_path / "words.py", OLD)
    compiled(tmp_path / "x/__pycache__/words.pyc", OLD)
    zipped(tmp_path / "old.whl", contents=OLD)
    write(tmp_path / "broken.zip", b"PK\x03\x04 no zip at all")
    write(tmp_path / "broken.gz", b"\x1f\x8b broken")
    write(tmp_path / ".git/objects/words.py", NEW)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert scan([tmp_path], {"words-1": FIX}) == {}


def test_three_short_lines_of_a_large_fix_are_met_by_chance(tmp_path):
    lines = [f"    result_{number} = compute(argument, {number})" for number in range(9)]
    chance = ["try:", "value = int(text)", "except (ValueError, TypeError):", "pass"]
    new = OLD + "\n".join([*chance, *lines]).encode()
    proposal = Proposal(id="a", kind="merge", rev="", seconds=0, gold={"w.py": new}, tests={})
    fix = fix_of(proposal, {"w.py": OLD})
    write(tmp_path / "other.py", "\n".join(["while 1:", *chance[:3], "raise"]).encode())
    assert scan([tmp_path], {"a": fix}) == {}
    write(tmp_path / "part.py", "\n".join(lines[:4]).encode())
    assert scan([tmp_path], {"a": fix})["a"]


def test_short_functions_of_other_names_have_the_same_bytecode_and_are_no_leak(tmp_path):
    other = NEW.replace(b"longest", b"shortest").replace(b"best", b"least")
    compiled(tmp_path / "x/__pycache__/other.pyc", other)
    codes = {one.code for one in bytecode(other)}
    assert codes & {one.code for one in FIX.code}
    assert scan([tmp_path], {"words-1": FIX}) == {}


def test_each_task_has_its_own_hits(tmp_path):
    other = fix_of(PROPOSAL, {"words.py": NEW, "test_words.py": TESTS})
    write(tmp_path / "words.py", NEW)
    found = scan([tmp_path], {"words-1": FIX, "words-2": other})
    assert found.keys() == {"words-1"}


def test_a_fix_of_one_line_is_known_by_the_lines_around_it(tmp_path):
    one = OLD.replace(b"len(word) > len(best)", b"len(word) >= len(best)")
    proposal = Proposal(id="a", kind="merge", rev="", seconds=0, gold={"words.py": one}, tests={})
    write(tmp_path / "copy.py", one)
    assert scan([tmp_path], {"a": fix_of(proposal, {"words.py": OLD})})["a"]


def test_the_interpreters_own_packages_give_a_fix_of_packaging_away():
    """The real case: pytest, and so nearly every environment, holds a later `packaging`."""
    packaging = pytest.importorskip("packaging")
    folder = Path(packaging.__file__).parent
    new = (folder / "version.py").read_bytes()
    lines = new.splitlines(keepends=True)
    old = b"".join(lines[: len(lines) // 2])
    proposal = Proposal(
        id="packaging-1", kind="merge", rev="", seconds=0,
        gold={"src/packaging/version.py": new}, tests={},
    )  # fmt: skip
    fix = fix_of(proposal, {"src/packaging/version.py": old}, names=["packaging"])
    assert scan([folder], {"packaging-1": fix})["packaging-1"]
    hits = scan([folder.parent / f"packaging-{packaging.__version__}.dist-info"], {"p": fix})
    assert hits == {}  # a folder shown whole is looked into, its own name is its parent's
    named = list(folder.parent.glob("packaging-*.dist-info"))
    assert named


def test_source_that_does_not_parse_has_no_code():
    assert bytecode(b"def (") == []
    assert bytecode(b"(" * 5000) == []
    assert bytecode(b"x = '\0'") == []


def test_the_head_of_a_file_is_nobodys_fix(tmp_path):
    """A docstring's end and the imports after it stand in many files; so our own history showed."""
    head = (
        b'"""\n\nfrom __future__ import annotations\n\n'
        b"from collections.abc import Awaitable, Callable, Sequence\n"
    )
    gold = {"words.py": b'"""Words, and how to read them.\n' + head + OLD}
    proposal = Proposal(id="a", kind="merge", rev="", seconds=0, gold=gold, tests={})
    write(
        tmp_path / "other.py", b'"""Something else.\n' + head + b"import sys\n\nprint(sys.argv)\n"
    )
    assert scan([tmp_path], {"a": fix_of(proposal, {"words.py": OLD})}) == {}
    write(tmp_path / "copy.py", gold["words.py"])
    (hit,) = scan([tmp_path], {"a": fix_of(proposal, {})})["a"]
    assert hit.path.endswith("copy.py")
