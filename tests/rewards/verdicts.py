"""Programs with tests, and the verdict that each must get; and one task in every language."""

from __future__ import annotations

from typing import Any

from munro.rewards.code import Call, Case, Check

SUM = "print(sum(map(int, input().split())))"
SUMS = [Case(stdin="1 2", stdout="3\n"), Case(stdin="-5 5", stdout="0")]

CHECKER = """\
import sys
given, written, answer = (open(name).read() for name in sys.argv[1:])
if "?" in answer:
    sys.exit(3)
sys.exit(0 if sorted(written.split()) == sorted(answer.split()) else 1)
"""

CASES = "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n    "
CATCH = "try: f()\nexcept ValueError as e: assert str(e) == 'no'\nelse: assert False"

VERDICTS: list[tuple[str, str, list[Any], bool, str]] = [
    ("reads and prints", SUM, SUMS, True, "2 of 2 tests passed"),
    ("wrong output", "print(3)", SUMS, False, r"1 of 2 tests passed; test 2: wrong output '3\n'"),
    ("an error", "print(3 / 0)", SUMS, False, "status 1: ZeroDivisionError: division by zero"),
    ("right, then an error", f"{SUM}\n1 / 0", SUMS, False, "ZeroDivisionError"),
    ("no syntax", "print(", SUMS, False, "SyntaxError"),
    ("main guard", f"if __name__ == '__main__':\n    {SUM}", SUMS, True, ""),
    (
        "reads a file",
        "print(open('data/a').read())",
        [Case(stdout="x", files={"data/a": "x"})],
        True,
        "",
    ),
    ("memory", "x = bytearray(1 << 30)", [Case(stdout="")], False, "memory"),
    ("output", "while True: print('x' * 1000)", [Case(stdout="")], False, "limit of output"),
    ("any order", "print('b a')", [Case(stdout="a b", checker=CHECKER)], True, ""),
    (
        "refused",
        "print('b')",
        [Case(stdout="a b", checker=CHECKER)],
        False,
        "refused by the checker",
    ),
    (
        "call",
        "def f(x, *, y): return [x, (y,)]",
        [Call(function="f", args=[1], kwargs={"y": 2}, expected=[1, [2]])],
        True,
        "",
    ),
    (
        "method",
        "class A:\n    def f(self, x): return {x}",
        [Call(function="A.f", args=[1], expected={1})],
        True,
        "",
    ),
    (
        "prints and returns",
        "def f():\n    print('noise')\n    return 1",
        [Call(function="f", expected=1)],
        True,
        "",
    ),
    ("wrong value", "def f(): return 2", [Call(function="f", expected=1)], False, "wrong value"),
    (
        "raises",
        "def f(): return {}['key']",
        [Call(function="f")],
        False,
        "f raised KeyError: 'key'",
    ),
    (
        "not there",
        "def g(): return 1",
        [Call(function="f")],
        False,
        "NameError: the program defines no 'f'",
    ),
    (
        "returns what is no data",
        "def f(): return object()",
        [Call(function="f")],
        False,
        "a value of type object",
    ),
    (
        "does not load",
        "1 / 0",
        [Call(function="f")],
        False,
        "loading the program raised ZeroDivisionError",
    ),
    (
        "asserts",
        "def f(x): return x + 1",
        [Check(source="assert f(1) == 2")],
        True,
        "1 of 1 tests passed",
    ),
    (
        "a failing assert",
        "def f(x): return x",
        [Check(source="x = 1\nassert f(x) == 2")],
        False,
        "AssertionError (line 2 of the tests)",
    ),
    (
        "test functions",
        "def f(x): return x",
        [Check(source="from solution import f\ndef test_f(): assert f([1]) == [1]")],
        True,
        "",
    ),
    (
        "failing test functions",
        "def f(x): return x",
        [Check(source="from solution import f\ndef test_f(): assert f(1) == 2")],
        False,
        "AssertionError",
    ),
    (
        "unittest",
        "def f(x): return int(x)",
        [
            Check(
                source=f"{CASES}    with self.assertRaises(ValueError): f('x')\n"
                "        self.assertEqual(f('1'), 1)"
            )
        ],
        True,
        "",
    ),
    (
        "failing unittest",
        "def f(x): return x",
        [Check(source=f"{CASES}    self.assertEqual(f('1'), 1)")],
        False,
        "test_f: AssertionError",
    ),
    (
        "changes its argument",
        "def f(x): x.append(1)",
        [Check(source="x = []\nf(x)\nassert x == [1]")],
        True,
        "",
    ),
    (
        "an exception of its own",
        "class E(ValueError): pass\ndef f(): raise E('no')",
        [Check(source=CATCH)],
        True,
        "",
    ),
    (
        "raises in tests",
        "def f(): return 1 / 0",
        [Check(source="assert f() == 1")],
        False,
        "the program raised ZeroDivisionError: division by zero",
    ),
    (
        "ends in tests",
        "import os\ndef f(): os._exit(0)",
        [Check(source="f()")],
        False,
        "the program ended before its tests (status 0)",
    ),
    (
        "sleeps with little CPU",
        "import time\ntime.sleep(0.01)\ndef f(): return 1",
        [Check(source="assert f() == 1")],
        True,
        "",
    ),
    ("empty", " \n", SUMS, False, "no program"),
    ("half a surrogate pair", "x = '\ud800'", SUMS, False, "half a surrogate pair"),
    ("a NUL", "print(3)\0", SUMS, False, "test 1"),
    ("too long", "#" * (1 << 19), SUMS, False, "program too long (524,288 characters)"),
]

SUM_IN = {
    "python": "a, b = map(int, input().split())\nprint(a + b)",
    "c": "#include <stdio.h>\n"
    'int main() { int a, b; scanf("%d %d", &a, &b); printf("%d", a + b); }',
    "cpp": "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }",
    "java": "import java.util.*;\npublic class Main { public static void main(String[] x) {"
    " Scanner s = new Scanner(System.in); System.out.println(s.nextInt() + s.nextInt()); } }",
    "javascript": "const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ').map(Number);"
    " console.log(a + b)",
    "typescript": "declare const require: any;\nconst [a, b]: number[] ="
    " require('fs').readFileSync(0, 'utf8').split(' ').map(Number); console.log(a + b)",
    "go": 'package main\nimport "fmt"\nfunc main() { var a, b int; fmt.Scan(&a, &b);'
    " fmt.Println(a + b) }",
    "rust": "fn main() { let mut s = String::new(); std::io::stdin().read_line(&mut s).unwrap();"
    ' println!("{}", s.split_whitespace().map(|x| x.parse::<i32>().unwrap()).sum::<i32>()); }',
    "csharp": "using System; class P { static void Main() { var p = Console.ReadLine().Split(' ');"
    " Console.WriteLine(int.Parse(p[0]) + int.Parse(p[1])); } }",
    "kotlin": "fun main() { println(readLine()!!.split(' ').map { it.toInt() }.sum()) }",
    "scala": "object Main extends App {"
    " println(scala.io.StdIn.readLine().split(' ').map(_.toInt).sum) }",
    "ruby": "puts gets.split.map(&:to_i).sum",
    "php": "<?php [$a, $b] = explode(' ', trim(fgets(STDIN))); echo $a + $b;",
    "perl": "my ($a, $b) = split ' ', <STDIN>; print $a + $b;",
    "swift": 'print(readLine()!.split(separator: " ").map { Int($0)! }.reduce(0, +))',
    "haskell": "main = interact (show . sum . map (read :: String -> Int) . words)",
    "lua": 'local a, b = io.read("n", "n")\nprint(a + b)',
}
