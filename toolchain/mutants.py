"""
Whether the unit tests notice a change of the code: ``python -m toolchain.mutants``.

The changes are mutmut's. It is not run itself: it leaves out what is decorated, which is every rule
of lint and every property, and what stands outside of functions, which is most of the model.

All happens in a copy. One run of all tests tells which test runs which line. A mutant is then
tested by those alone, the ones of its package first. A change within functions is made in a fork of
a process that has collected the tests; one of what an import runs is made in the file, and the
tests are loaded anew.

Not changed: prose (a string with a space in it), annotations and decorators, and lines with
`# pragma: no mutate`, which say why.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import difflib
import gc
import hashlib
import importlib
import inspect
import json
import os
import pickle
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import hypothesis
import libcst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import NEVER_MUTATE_FUNCTION_CALLS
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).parent.parent
PACKAGES = ("model", "compiler", "routing", "services", "config", "lint")
NO_JUDGES = ("bench", "measured", "toolchain")
"""Tests that are about something else, or see any change of a text in the generated docs."""

LEAST = 90
"""Percent that has to be caught in each package."""
LONGEST = 10.0
"""So many seconds of tests, by what they took without a change, are tried for a mutant."""

_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__")
_OUT = os.dup(1)
_OUTPUT = ".output"
_FAILED = 70
"""Status of a fork that did not come to its end."""
_PR_SET_PDEATHSIG = 1
_ENDING = (signal.SIGINT, signal.SIGTERM)
_LEFT_OUT = (libcst.Annotation, libcst.Decorator, libcst.Import, libcst.ImportFrom)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change: of the code from line `first` to `last` of a file."""

    file: str
    place: str
    """What tells it from others of its file, as long as nothing changes close to it."""
    first: int
    last: int
    module: libcst.Module
    old: libcst.CSTNode
    new: libcst.CSTNode

    @property
    def package(self) -> str:
        """The package that its file is of."""
        return Path(self.file).parts[1]

    def code(self) -> str:
        """Return the file with the change."""
        return str(self.module.deep_replace(self.old, self.new).code)

    def change(self) -> str:
        """Return the lines that differ."""
        old, new = (text.splitlines(keepends=True) for text in (self.module.code, self.code()))
        lines = difflib.unified_diff(old, new, n=0)
        return "".join(line for line in lines if line[:3] not in ("---", "+++", "@@ "))


@dataclass
class Tests:
    """What one run of all tests, without a change, tells."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    lines: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    """The tests of each line of each file."""
    loaded: list[str] = field(default_factory=list)
    """The modules that are not of the project."""

    def _running(self, mutant: Mutant) -> set[str]:
        lines = self.lines.get(mutant.file, {})
        return {test for at in range(mutant.first, mutant.last + 1) for test in lines.get(at, ())}

    def imported(self, mutant: Mutant) -> bool:
        """Return whether an import runs a mutant."""
        return "" in self._running(mutant)

    def of(self, mutant: Mutant) -> tuple[list[str], list[str]]:
        """Return the tests that run a mutant: those of its package, and then the others."""
        ran = self._running(mutant)
        if ran == {""}:  # what any test sees
            ran.update(self.seconds)
        home = f"tests/unit/{mutant.package}/"
        own: list[str] = []
        others: list[str] = []
        spent = 0.0
        near = sorted(ran - {""}, key=lambda test: (not test.startswith(home), self.seconds[test]))
        for test in near:
            spent += self.seconds[test]
            if spent > LONGEST and (own or others):
                break
            (own if test.startswith(home) else others).append(test)
        return own, others

    def limit(self, mutant: Mutant) -> float:
        """Return after how many seconds a mutant must have done something to the tests."""
        return 20 + 5 * sum(self.seconds[test] for test in chain(*self.of(mutant)))


class _Watch:
    """Plugin of pytest: notes which test runs which line, and how long each takes."""

    def __init__(self, copy: Path) -> None:
        self.tests = Tests()
        self._coverage = coverage.Coverage(data_file=None, source=[str(copy / "rabbit_topology")])
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)
        answer = yield
        self._coverage.switch_context("")
        return answer

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tests.seconds[report.nodeid] += report.duration

    def result(self, copy: Path) -> Tests:
        self._coverage.stop()
        data = self._coverage.get_data()
        for file in data.measured_files():
            name = str(Path(file).relative_to(copy))
            self.tests.lines[name] = data.contexts_by_lineno(file)
        self.tests.loaded = [
            name
            for name, module in sys.modules.items()
            if not (getattr(module, "__file__", None) or str(copy)).startswith(str(copy))
        ]
        return self.tests


class _SameExamples:
    """Plugin of pytest: the same examples each time, and none that is only shorter."""

    def pytest_collection(self) -> None:
        hypothesis.settings.register_profile(
            "mutants",
            deadline=None,
            derandomize=True,
            database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        hypothesis.settings.load_profile("mutants")


class _Only(_SameExamples):
    """Plugin of pytest: runs these tests in this order."""

    def __init__(self, tests: Iterable[str]) -> None:
        self._order = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._order]
        items.sort(key=lambda item: self._order[item.nodeid])


class _Within(_SameExamples):
    """Plugin of pytest: with all tests loaded, makes changes within functions and tests them."""

    def __init__(self, copy: Path, drawn: Sequence[Mutant], tests: Tests) -> None:
        self.caught: list[bool | None] = []
        """Of each mutant; None if it has to be made in the file."""
        self._copy = copy
        self._drawn = drawn
        self._tests = tests

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        functions = defaultdict(list)
        for one in gc.get_objects():
            if isinstance(one, FunctionType):
                functions[one.__code__].append(one)
        for mutant in self._drawn:
            pairs = list(_changed(self._code(mutant, mutant.module.code), self._code(mutant)))
            if not all(old in functions for old, _ in pairs):
                self.caught.append(None)
                continue
            chosen = [items[test] for test in chain(*self._tests.of(mutant)) if test in items]

            def work() -> int:
                for old, new in pairs:  # noqa: B023 - used at once
                    for function in functions[old]:
                        function.__code__ = new
                for at, item in enumerate(chosen, start=1):  # noqa: B023
                    following = chosen[at] if at < len(chosen) else None  # noqa: B023
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                    if session.testsfailed:
                        return 1
                return 0

            status = _fork(self._copy, work, self._tests.limit(mutant))
            # What an import ran as well is asked again, with the change in the file.
            again = not status and self._tests.imported(mutant)
            self.caught.append(None if again or status == _FAILED else bool(status))
            if self.caught[-1] is False:
                _tell(mutant)
            if not len(self.caught) % 50:
                _say(f"{len(self.caught):,} of {len(self._drawn):,}")
        return True

    def _code(self, mutant: Mutant, text: str | None = None) -> CodeType:
        return compile(text or mutant.code(), self._copy / mutant.file, "exec", dont_inherit=True)


def _changed(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield the outermost functions that differ; the whole file where more does."""
    if _shape(old) == _shape(new):
        return
    is_function = bool(old.co_flags & inspect.CO_OPTIMIZED)
    inner = [
        [const for const in code.co_consts if isinstance(const, CodeType)] for code in (old, new)
    ]
    if is_function or _shape(old, deep=False) != _shape(new, deep=False):
        yield old, new
        return
    for one, other in zip(*inner, strict=True):
        yield from _changed(one, other)


def _shape(code: CodeType, *, deep: bool = True) -> tuple[object, ...]:
    """Return what a code does, wherever it stands."""
    consts = tuple(
        (_shape(const) if deep else code.co_name) if isinstance(const, CodeType) else repr(const)
        for const in code.co_consts
    )
    return (code.co_code, code.co_names, code.co_varnames, code.co_freevars, consts)


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """Yield each change of a file."""
    wrapper = MetadataWrapper(libcst.parse_module(source))
    module = wrapper.module
    positions = wrapper.resolve(PositionProvider)
    lines = source.splitlines()
    numbers: Counter[str] = Counter()
    for statement in module.body:
        named = isinstance(statement, libcst.FunctionDef | libcst.ClassDef)
        head = statement.name.value if named else module.code_for_node(statement)
        for node in _nodes(statement):
            if node not in positions:
                continue
            first, last = positions[node].start.line, positions[node].end.line
            if "pragma: no mutate" in lines[first - 1]:
                continue
            for kind, operator in mutation_operators:
                for new in operator(node) if isinstance(node, kind) else ():
                    numbers[head] += 1
                    yield Mutant(
                        file=file,
                        place=f"{head} {numbers[head]}",
                        first=first,
                        last=last,
                        module=module,
                        old=node,
                        new=new,
                    )


def _nodes(node: libcst.CSTNode) -> Iterator[libcst.CSTNode]:
    """Yield a node, and all below it that are worth a change."""
    match node:
        case libcst.SimpleString() if " " in node.value:
            return
        case libcst.Call(func=libcst.Name(value=name)) if name in NEVER_MUTATE_FUNCTION_CALLS:
            return
        case libcst.Call(func=libcst.Name(value="TypeVar")):
            return
        case libcst.AnnAssign(annotation=libcst.Annotation(libcst.Name(value="TypeAlias"))):
            return
    if isinstance(node, _LEFT_OUT):
        return
    yield node
    for child in node.children:
        yield from _nodes(child)


def _sample(package: str, size: int | None, seed: str) -> list[Mutant]:
    """Return mutants of a package, drawn so that other code elsewhere changes nothing."""
    every: dict[bytes, Mutant] = {}
    for path in sorted((ROOT / "rabbit_topology" / package).glob("**/*.py")):
        file = str(path.relative_to(ROOT))
        for mutant in mutants(file, path.read_text(encoding="utf-8")):
            key = f"{seed} {file} {mutant.place}"
            every[hashlib.sha256(key.encode()).digest()] = mutant
    drawn = [every[key] for key in sorted(every)[:size]]
    return sorted(drawn, key=lambda mutant: (mutant.file, mutant.first))


def _fork(copy: Path, work: Callable[[], int], limit: float) -> int:
    """Return what `work` does in a process of its own, in the copy; less than 0 if it is killed."""
    pid = os.fork()
    if not pid:
        status = _FAILED
        try:
            os.setpgid(0, 0)
            # Ended with its parent, whose group it has left.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            for number in _ENDING:
                signal.signal(number, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, limit)
            output = os.open(copy / _OUTPUT, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for stream in (0, 1, 2):
                os.dup2(output, stream)
            for name in [name for name in sys.modules if name.split(".")[0] == "toolchain"]:
                del sys.modules[name]
            sys.path[0] = str(copy)
            os.chdir(copy)
            status = work()
        finally:
            os._exit(status)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _run(paths: Iterable[str], plugin: object) -> int:
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not integration", "--basetemp=.tmp"]
    return int(pytest.main([*options, *paths], plugins=[plugin]))


def _judges(copy: Path) -> list[str]:
    folders = sorted((copy / "tests" / "unit").glob("*/"))
    return [str(folder) for folder in folders if folder.name not in NO_JUDGES]


def _baseline(copy: Path) -> Tests:
    """Return what a run of all tests tells; they have to pass."""
    record = copy / ".tests"

    def work() -> int:
        watch = _Watch(copy)
        status = _run(_judges(copy), watch)
        record.write_bytes(pickle.dumps(watch.result(copy)))
        return status

    if _fork(copy, work, 3600):
        _say((copy / _OUTPUT).read_text(encoding="utf-8"))
        sys.exit("the unit tests fail without a change")
    tests: Tests = pickle.loads(record.read_bytes())  # noqa: S301 - written above
    return tests


def _within(copy: Path, drawn: Sequence[Mutant], tests: Tests) -> list[bool | None]:
    """Return which mutants are caught; None for those that have to be made in their files."""
    record = copy / ".caught"

    def work() -> int:
        plugin = _Within(copy, drawn, tests)
        status = _run(_judges(copy), plugin)
        record.write_text(json.dumps(plugin.caught), encoding="utf-8")
        return status

    if _fork(copy, work, 0):
        _say((copy / _OUTPUT).read_text(encoding="utf-8"))
        sys.exit("the unit tests cannot be loaded")
    caught: list[bool | None] = json.loads(record.read_text(encoding="utf-8"))
    return caught


def _caught(copy: Path, mutant: Mutant, tests: Tests) -> bool:
    """Return whether a test fails with a change in the file, or takes far too long."""
    path = copy / mutant.file
    before, times = path.read_text(encoding="utf-8"), path.stat()
    path.write_text(mutant.code(), encoding="utf-8")
    # Python takes what it compiled before unless the file's size or second differs.
    os.utime(path, (times.st_atime, times.st_mtime + 1000))
    try:
        for part in filter(None, tests.of(mutant)):
            files = dict.fromkeys(test.partition("::")[0] for test in part)
            status = _fork(copy, lambda: _run(files, _Only(part)), tests.limit(mutant))  # noqa: B023
            if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                return True
        return False
    finally:
        path.write_text(before, encoding="utf-8")
        os.utime(path, (times.st_atime, times.st_mtime))


def _say(text: str) -> None:
    """Print, also from a fork, whose own output nobody sees."""
    os.write(_OUT, f"{text}\n".encode())


def _tell(mutant: Mutant) -> None:
    _say(f"{mutant.file}:{mutant.first}\n{mutant.change()}")


def main() -> int:
    """Test the mutants, and return 1 if too many of a package are not noticed."""
    parser = argparse.ArgumentParser(prog="make mutants MUTANTS=")
    parser.add_argument("--package", action="append", choices=PACKAGES, help="only this one")
    parser.add_argument("--each", type=int, default=100, help="so many of each package")
    parser.add_argument("--all", action="store_true", help="all there are: some hours")
    parser.add_argument("--seed", default="1", help="another one draws others")
    options = parser.parse_args()
    for number in _ENDING:
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=_NOT_COPIED)
        _say("running the unit tests without a change")
        tests = _baseline(copy)
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        for name in tests.loaded:
            with contextlib.suppress(ImportError), warnings.catch_warnings(action="ignore"):
                importlib.import_module(name)
        size = None if options.all else options.each
        drawn = {
            package: _sample(package, size, options.seed) for package in options.package or PACKAGES
        }
        every = list(chain(*drawn.values()))
        _say(f"testing {len(every):,} mutants")
        caught: Counter[str] = Counter()
        verdicts = _within(copy, every, tests)
        _say(f"{verdicts.count(None):,} of them in their files")
        for mutant, verdict in zip(every, verdicts, strict=True):
            if _caught(copy, mutant, tests) if verdict is None else verdict:
                caught[mutant.package] += 1
            elif verdict is None:
                _tell(mutant)
    rows = [
        (package, len(those), caught[package], 100 * caught[package] / max(1, len(those)))
        for package, those in drawn.items()
    ]
    _say(f"{'package':10}{'mutants':>9}{'caught':>8}{'percent':>9}")
    for package, those, count, percent in rows:
        _say(f"{package:10}{those:9}{count:8}{percent:9.1f}")
    return int(any(percent < LEAST for *_, percent in rows))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
