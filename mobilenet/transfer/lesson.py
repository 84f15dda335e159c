"""What runs beside the cells of a notebook, so that no cell has to: which knobs decided what.

A knob is a name IN_CAPITALS. From the names that a cell reads and assigns it follows which knobs
decided each of them, and in which cell. Before a cell runs, what it reads is looked at: if a knob
was turned since the cell that used it ran, the cell is refused with a sentence, so that no result
passes for one of knobs that it did not have. Cells are read as Python code, not watched: what a
function of a library changes behind a name is not seen, but for CHANGING.
"""

import ast
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from IPython.core.error import InputRejected

from mobilenet import UserError
from mobilenet.transfer.runs import knobs_of, same

# Methods that change what they are called on, as far as notebooks here call them.
CHANGING = {"fit", "compile", "set_weights", "load_weights", "append", "extend", "update"}


class Stale(UserError, InputRejected):
    """A cell, which IPython then does not run, reads what was made with knobs turned since."""


@dataclass
class Origin:
    """Where a name comes from. knobs: name → (value then, number of the cell to run again). cells:
    the runs of cells that it rests on.
    """

    knobs: dict[str, tuple[Any, int]] = field(default_factory=dict)
    cells: frozenset[int] = frozenset()


class Names(ast.NodeVisitor):
    """The names in a cell's code: read before it assigns them, assigned, changed in place, and of
    the functions it defines those that they read when they are called.
    """

    def __init__(self, code: ast.AST, known: frozenset[str] = frozenset()):
        self.read, self.assigned, self.changed = set(), set(known), set()
        self.functions, self._elements = {}, {}
        self.visit(code)
        self.assigned -= known

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.assigned.add(node.id)
        elif node.id not in self.assigned:
            self.read.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)  # first, since x = f(x) reads the x of before
        for target in node.targets:
            self._change(target)
            self.visit(target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._change(node.target)
        if isinstance(node.target, ast.Name) and node.target.id not in self.assigned:
            self.read.add(node.target.id)
        self.visit(node.value)
        self.visit(node.target)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        of = {name.id for name in ast.walk(node.iter) if isinstance(name, ast.Name)}
        for name in ast.walk(node.target):
            if isinstance(name, ast.Name):
                self._elements[name.id] = of  # to change one is to change what it is out of
        for part in (node.target, *node.body, *node.orelse):
            self.visit(part)

    def _comprehension(self, node: Any) -> None:
        known = self.assigned.copy()
        for part in node.generators:
            self.visit(part.iter)
            self.visit(part.target)
            for condition in part.ifs:
                self.visit(condition)
        for part in ("key", "value", "elt"):
            if hasattr(node, part):
                self.visit(getattr(node, part))
        self.assigned = known  # its own names end with it

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
            self._change(node.func)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        own = frozenset(arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg))
        for default in (*node.args.defaults, *node.decorator_list):
            self.visit(default)
        self.assigned.add(node.name)
        inside = Names(ast.Module(node.body, []), own)
        self.functions[node.name] = inside.read.union(*inside.functions.values())

    def visit_Lambda(self, node: ast.Lambda) -> None:
        own = frozenset(arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg))
        self.read |= Names(node.body, own).read - self.assigned

    def _change(self, target: ast.AST) -> None:
        inside = isinstance(target, (ast.Attribute, ast.Subscript))
        while isinstance(target, (ast.Attribute, ast.Subscript)):
            target = target.value
        if inside and isinstance(target, ast.Name):
            self.changed |= {target.id, *self._elements.get(target.id, ())}


class Lesson:
    """The origins of a notebook's names. made(name, value, knobs, seconds) is told of each name
    that a cell assigned: with which knobs, {name: value}, and how long the cells took on which it
    rests, but for those on which `photos` rests.
    """

    def __init__(self, shell: Any, made: Callable[..., None]):
        self.shell, self.names, self.made = shell, shell.user_ns, made
        self.origins, self.functions, self.unfinished = {}, {}, {}
        self.seconds = []  # of each run of a cell
        self.cell = None

    def begin(self, info: Any = None) -> None:
        """Before a cell (IPython's pre_run_cell)."""
        self.cell, self.start = None, time.perf_counter()

    def visit(self, code: ast.Module) -> ast.Module:
        """Look at a cell's code before it runs (an AST transformer of IPython). Raises Stale."""
        if self.cell is None:
            self.cell = Names(code)
            self.knobs = knobs_of(self.names)
            self._check()
        return code

    def end(self, result: Any) -> None:
        """After a cell (IPython's post_run_cell)."""
        if self.cell is None or result.error_before_exec:
            return
        # Not the shell's count, which IPython 9 raises before a cell runs.
        cell, self.cell, number = self.cell, None, result.execution_count
        self.seconds.append(time.perf_counter() - self.start)
        inside = set().union(*cell.functions.values()) - (cell.assigned - cell.read)
        origin = self._origin(self._reads(cell.read | inside), number)
        plain = self._origin(self._reads(cell.read), number)  # of what reads only when it is called
        there = {name for name in cell.assigned if name in self.names and not name.isupper()}
        if result.error_in_exec:
            self.unfinished |= dict.fromkeys(there if origin.knobs else (), number)
            return
        for name in cell.changed - there:
            if name in self.origins:
                before = self.origins[name]
                again = min((n for _, n in before.knobs.values()), default=number)
                knobs = {knob: (value, again) for knob, (value, _) in origin.knobs.items()}
                self.origins[name] = Origin(knobs | before.knobs, before.cells | origin.cells)
        for name in there:
            self.origins[name] = plain if name in cell.functions else origin
            self.functions.pop(name, None)
            self.unfinished.pop(name, None)
        self.functions |= {name: cell.functions[name] for name in cell.functions}
        photos = self.origins.get("photos", Origin()).cells
        seconds = sum(self.seconds[i] for i in origin.cells - photos)
        for name in sorted(there):
            knobs = {knob: value for knob, (value, _) in origin.knobs.items()}
            self.made(name, self.names[name], knobs, seconds)

    def _reads(self, names: set[str]) -> set[str]:
        """These names, and what is read by those of them that are functions of the notebook."""
        found, new = set(), names
        while new:
            found |= new
            new = set().union(*(self.functions.get(name, ()) for name in new)) - found
        return found

    def _origin(self, names: set[str], number: int) -> Origin:
        """Of what the cell of this number, the last that ran, made of these names."""
        knobs, cells = {}, frozenset([len(self.seconds) - 1])
        for name in sorted(names):
            before = self.origins.get(name, Origin())
            cells |= before.cells
            for knob, (value, first) in before.knobs.items():
                knobs[knob] = value, min(first, knobs.get(knob, (None, first))[1])
        own = {knob: (self.knobs[knob], number) for knob in names & set(self.knobs)}
        return Origin(own | knobs, cells)

    def _check(self) -> None:
        stale = {}
        for name in sorted(self._reads(self.cell.read)):
            if name in self.unfinished:
                raise Stale(
                    f"{name} comes from cell [{self.unfinished[name]}], which did not run to its "
                    "end: run that cell again."
                )
            for knob, (value, number) in self.origins.get(name, Origin()).knobs.items():
                if knob in self.knobs and not same(value, self.knobs[knob]):
                    stale[knob] = min(number, stale.get(knob, number))
        if stale:
            turned = ", ".join(sorted(stale))
            raise Stale(
                f"{turned} changed after cell [{min(stale.values())}] used the old value: run "
                "that cell again, and those below it."
            )


def watch(shell: Any, made: Callable[..., None]) -> None:
    """Watch the cells that an IPython shell runs, once; made: as `Lesson` has it."""
    if any(isinstance(one, Lesson) for one in shell.ast_transformers):
        return
    lesson = Lesson(shell, made)
    shell.ast_transformers.append(lesson)
    shell.events.register("pre_run_cell", lesson.begin)
    shell.events.register("post_run_cell", lesson.end)
