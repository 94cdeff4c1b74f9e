"""Programs that try to pass without doing what was asked: `add(a, b)`, which none of them can."""

from __future__ import annotations

import json

RETURNED = json.dumps({"tuple": ["returned", 3, []]})
LOADED = json.dumps({"tuple": ["loaded"]})
DONE = "D" + json.dumps({"secret": "", "passed": True, "reason": "", "is_broken": False})
SHOUT = f"""\
import os
LINES = {(LOADED + chr(10) + RETURNED + chr(10) + DONE + chr(10)).encode()!r}
def shout():
    for fd in range(64):
        try:
            os.write(fd, LINES)
        except OSError:
            pass
"""

FORGERIES = {
    "nothing is defined": "x = 1",
    "exit with status 0 at once": "import sys; sys.exit(0)",
    "end the process at once": "import os; os._exit(0)",
    "exit with status 0 when called": "import sys\ndef add(a, b): sys.exit(0)",
    "end the process when called": "import os\ndef add(a, b): os._exit(0)",
    "raise SystemExit": "def add(a, b): raise SystemExit(0)",
    "raise AssertionError": "def add(a, b): raise AssertionError",
    "raise KeyboardInterrupt": "def add(a, b): raise KeyboardInterrupt",
    "raise GeneratorExit": "def add(a, b): raise GeneratorExit",
    "raise StopIteration": "def add(a, b): raise StopIteration(3)",
    "raise ImportError, as broken tests do": "def add(a, b): raise ImportError('numpy')",
    "raise NameError, as broken tests do": "def add(a, b): raise NameError('check')",
    "an exception whose class and text lie": (
        "class E(Exception):\n"
        "    def __str__(self): raise SystemExit(0)\n"
        "E.__name__ = 'passed'\n"
        "def add(a, b): raise E"
    ),
    "print what a harness prints": (
        "print('OK'); print('1 passed'); print('ALL TESTS PASSED')\ndef add(a, b): print('passed')"
    ),
    "print the end of the conversation": f"print({DONE!r})\ndef add(a, b): print({DONE!r})",
    "write it to every descriptor when loaded": f"{SHOUT}\nshout()",
    "write it to every descriptor when called": f"{SHOUT}\ndef add(a, b): shout()",
    "write it and end": f"{SHOUT}\nshout(); os._exit(0)",
    "answer a thousand times ahead": (
        f"import os\nos.write(1, {(RETURNED + chr(10)).encode()!r} * 1000)\n"
        f"for fd in range(3, 32):\n"
        f"    try: os.write(fd, {(RETURNED + chr(10)).encode()!r} * 1000)\n"
        f"    except OSError: pass\n"
    ),
    "an object that equals everything": (
        "class Any:\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 0\n"
        "def add(a, b): return Any()"
    ),
    "an int that equals everything": (
        "class Any(int):\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 0\n"
        "    __int__ = lambda s: 3\n    __index__ = lambda s: 3\n"
        "def add(a, b): return Any(0)"
    ),
    "a list that equals everything": (
        "class Any(list):\n    __eq__ = lambda s, o: True\n    __iter__ = lambda s: iter([3])\n"
        "def add(a, b): return Any()"
    ),
    "nan": "def add(a, b): return float('nan')",
    "a type made to be of the harness": (
        "class __main__: pass\ndef add(a, b): return type('int', (int,), {})(0)"
    ),
    "asserts made harmless": (
        "import builtins\nbuiltins.AssertionError = type('A', (Exception,), {})\n"
        "def add(a, b): return 0"
    ),
    "builtins patched": (
        "import builtins\n"
        "for name in ('exec', 'compile', 'isinstance', 'len', 'print', 'getattr', 'setattr'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)\n"
        "def add(a, b): return 0"
    ),
    "json patched": (
        f"import json\njson.dumps = lambda *a, **k: {RETURNED!r}\njson.loads = lambda *a, **k: 3\n"
        "def add(a, b): return 0"
    ),
    "the harness patched": (
        "import sys\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.startswith('munro'):\n"
        f"        module.dumps = lambda *a, **k: {DONE!r}\n"
        "        module._write = lambda *a, **k: None\n"
        "def add(a, b): return 0"
    ),
    "the harness's loop taken over": (
        "import os, sys\n"
        "frame = sys._getframe()\n"
        "while frame.f_back: frame = frame.f_back\n"
        f"calls = [v for f in [sys._getframe(i) for i in range(3)] for v in f.f_locals.values()]\n"
        "for v in calls:\n"
        "    if hasattr(v, 'write'):\n"
        f"        v.write({(LOADED + chr(10) + DONE + chr(10)).encode()!r}); v.flush()\n"
        "os._exit(0)"
    ),
    "sys.modules emptied": "import sys\nsys.modules.clear()\ndef add(a, b): return 0",
    "stdout replaced": (
        "import io, sys\nsys.stdout = sys.stderr = io.StringIO()\ndef add(a, b): return 0"
    ),
    "hooks set": (
        "import atexit, os, sys\natexit.register(os._exit, 0)\n"
        "sys.excepthook = lambda *a: os._exit(0)\n"
        "sys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\n"
        "def add(a, b): raise ValueError"
    ),
    "secrets looked for in memory": (
        "import gc, sys\n"
        "def add(a, b):\n"
        "    found = [o for o in gc.get_objects() if isinstance(o, dict) and 'secret' in o]\n"
        "    return found[0]['expected'] if found else None"
    ),
    "expected values looked for in files": (
        "import os, re\n"
        "def add(a, b):\n"
        "    text = ''\n"
        "    for place in ('.', '/tmp', '/proc/self', '/proc/1', '/opt', '/dev'):\n"
        "        for root, _, names in os.walk(place):\n"
        "            for name in names[:50]:\n"
        "                path = os.path.join(root, name)\n"
        "                if not os.path.isfile(path): continue\n"
        "                try:\n"
        "                    with open(path, errors='replace') as file:\n"
        "                        text += file.read(2000)\n"
        "                except OSError: pass\n"
        "            if len(text) > 100_000: break\n"
        "    found = re.search(r'assert add.*?== (-?[0-9]+)', text)\n"
        "    return int(found[1]) if found else None"
    ),
    "everybody killed": (
        "import os, signal\n"
        "def add(a, b):\n"
        "    for pid in (1, os.getppid(), -1):\n"
        "        try: os.kill(pid, signal.SIGKILL)\n"
        "        except OSError: pass\n"
        "    return 0"
    ),
    "fork, so that two answer": "import os\ndef add(a, b):\n    os.fork()\n    return 0",
    "a thread that outlives the call": (
        "import threading, time, sys\n"
        "def late():\n    time.sleep(0.05)\n    print('passed')\n"
        "def add(a, b):\n    threading.Thread(target=late).start()\n    return 0"
    ),
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef add(a, b): return add(a, b) + 1"
    ),
    "endless loop": "def add(a, b):\n    while True: pass",
    "a value nested too deeply": (
        "def add(a, b):\n    x = []\n    for _ in range(500): x = [x]\n    return x"
    ),
    "a value that contains itself": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "a value that is huge": "def add(a, b): return 'x' * (1 << 24)",
    "an int of a million digits": "def add(a, b): return 1 << (1 << 21)",
    "hashes that collide": "def add(a, b): return {i * (2**61 - 1) for i in range(2_000)}",
    "half a surrogate pair": "def add(a, b): return '\\ud800'",
    "a NUL in the source": "def add(a, b):\n    return 0\n\0",
    "a function of the tests": "def check(candidate): pass\ndef test_add(): pass\nadd = check",
}
"""Name of the attempt to program."""
