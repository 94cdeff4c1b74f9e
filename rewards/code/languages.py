"""Programming languages as data: how a program is stored, compiled and run, and what that takes.

The names of the programs are those of the usual packages of a Linux distribution. Nothing is looked
for on this machine: what counts is what the sandbox holds (`missing`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language. Commands run in the folder that holds `file`, never through a shell.

    Example:
        LANGUAGES["cpp"].compile      # ("g++", "-std=c++17", "-O2", "-o", "main", "main.cpp")
    """

    name: str
    """As data sets and TOML files write it."""
    file: str
    """What the program's source is called."""
    compile: Command | None
    run: Command
    needs: Command
    """Programs that must be in the sandbox."""
    fences: frozenset[str]
    """What replies write after the three backticks, in lower case."""
    headroom_mb: int = 0
    """Memory that the language's own runtime takes, MiB; comes on top of a test's limit."""
    processes: int = 1
    """Threads and processes that its runtime starts by itself; on top of a test's limit."""


def _language(
    name: str,
    file: str,
    run: str,
    *,
    compile: str = "",
    needs: str = "",
    fences: str = "",
    headroom_mb: int = 0,
    processes: int = 1,
) -> Language:
    """A row of the table; words stand for lists. `needs` is the first program unless given."""
    return Language(
        name=name,
        file=file,
        compile=tuple(compile.split()) or None,
        run=tuple(run.split()),
        needs=tuple(needs.split()) or ((compile or run).split()[0],),
        fences=frozenset((name, *fences.split())),
        headroom_mb=headroom_mb,
        processes=processes,
    )


LANGUAGES = {
    language.name: language
    for language in (
        _language(
            "python", "main.py", "python3 -I -X int_max_str_digits=0 main.py",
            fences="py python3 py3",
        ),
        _language("c", "main.c", "./main", compile="gcc -std=c17 -O2 -o main main.c -lm"),
        _language(
            "cpp", "main.cpp", "./main",
            compile="g++ -std=c++17 -O2 -o main main.cpp", fences="c++ cc cxx g++ cpp17",
        ),
        _language(
            "java", "Main.java", "java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xss64m Main",
            compile="javac -encoding UTF-8 Main.java", needs="javac java",
            headroom_mb=3072, processes=64,
        ),
        _language(
            "javascript", "main.js", "node main.js",
            fences="js node nodejs", headroom_mb=2048, processes=32,
        ),
        _language(
            "typescript", "main.ts", "node main.js",
            compile="tsc --target es2022 --module commonjs main.ts", needs="tsc node",
            fences="ts", headroom_mb=2048, processes=32,
        ),
        _language(
            "go", "main.go", "./main", compile="go build -o main main.go",
            fences="golang", headroom_mb=1024, processes=32,
        ),
        _language("rust", "main.rs", "./main", compile="rustc -O -o main main.rs", fences="rs"),
        _language(
            "csharp", "main.cs", "mono main.exe", compile="mcs -out:main.exe main.cs",
            needs="mcs mono", fences="cs c#", headroom_mb=512, processes=32,
        ),
        _language(
            "kotlin", "main.kt", "java -XX:+UseSerialGC -Xss64m -jar main.jar",
            compile="kotlinc main.kt -include-runtime -d main.jar", needs="kotlinc java",
            fences="kt", headroom_mb=3072, processes=64,
        ),
        _language(
            "scala", "main.scala", "scala -classpath . Main",
            compile="scalac main.scala", needs="scalac scala", headroom_mb=3072, processes=64,
        ),
        _language("ruby", "main.rb", "ruby main.rb", fences="rb", headroom_mb=128, processes=4),
        _language("php", "main.php", "php main.php", headroom_mb=128),
        _language("perl", "main.pl", "perl main.pl", fences="pl"),
        _language(
            "swift", "main.swift", "./main", compile="swiftc -O -o main main.swift", processes=16
        ),
        _language(
            "haskell", "Main.hs", "./main", compile="ghc -O -o main Main.hs",
            fences="hs", headroom_mb=1024, processes=8,
        ),
        _language("lua", "main.lua", "lua main.lua"),
    )
}  # fmt: skip
"""By name."""


def language_of(name: str) -> Language:
    """The language of that name, or of that name in a code fence ("c++", "js").

    Raises:
        ValueError: there is none; offers the nearest.
    """
    if name in LANGUAGES:
        return LANGUAGES[name]
    for language in LANGUAGES.values():
        if name.lower() in language.fences:
            return language
    close = difflib.get_close_matches(name.lower(), LANGUAGES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(LANGUAGES)}."
    raise ValueError(f"no language is called {name!r}: {hint}")


def missing(language: Language, has: Callable[[str], bool]) -> list[str]:
    """Programs that `language` needs and a sandbox lacks, by the sandbox's own `has`."""
    return [program for program in language.needs if not has(program)]
