"""Classes of objects: names with a colour, and which object has which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from micro_sam.errors import InputError
from micro_sam.session.steps import Steps
from micro_sam.session.values import ObjectClass, named

MOST = 9


class ClassActions:
    """The classes of objects."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._state = steps.state

    @property
    def known(self) -> tuple[ObjectClass, ...]:
        """The classes, sorted by number."""
        return self._state.classes

    @property
    def current(self) -> int:
        """Class that the current object gets when it is committed; 0: none."""
        return self._state.current_class

    def of(self, object_id: int) -> ObjectClass | None:
        """The class of a committed object."""
        record = self._state.objects.get(object_id)
        return None if record is None else self.numbered(record.object_class)

    def numbered(self, number: int) -> ObjectClass | None:
        """The class of a number; None for 0, and where there is none."""
        return next((one for one in self._state.classes if one.number == number), None)

    def names(self) -> dict[int, str]:
        """Id -> name of its class, for the objects that have one."""
        names = {one.number: one.name for one in self._state.classes}
        records = self._state.objects
        return {i: names.get(r.object_class, str(r.object_class)) for i, r in records.items() if r.object_class}

    def set(self, number: int, ids: Iterable[int] = ()) -> None:
        """Give committed objects, or without ids the current object, a class; 0 takes it away.

        A class that is not there yet is made.

        Raises
        ------
        InputError
            When there is no such object, or no such class can be.
        """
        _check(number, first=0)
        ids = sorted({int(i) for i in ids})
        unknown = [i for i in ids if i not in self._state.objects]
        if unknown:
            raise InputError(f"There is no committed object {unknown[0]}.")
        what = "Set class" if number else "Remove class"
        with self._steps.step(what, ids=ids, object_class=number) as draft:
            if number and self.numbered(number) is None:
                draft.set("classes", _with(self._state.classes, ObjectClass.standard(number)))
            records = {i: self._state.objects[i] for i in ids}
            changed = {i: r.changed(object_class=number) for i, r in records.items() if r.object_class != number}
            if changed:
                draft.put_all("objects", changed)
            if not ids:
                draft.set("current_class", number)
        known = self.numbered(number)
        name = f"'{known.name}'" if known is not None else "no class"
        if ids:
            self._steps.say(f"{named(self._steps.rules.noun, ids)}: {name}.")
        else:
            self._steps.say(f"The current {self._steps.rules.noun} will be committed as {name}.")

    def define(self, number: int, name: str | None = None, colour: str | None = None) -> None:
        """Make a class, or change its name or colour.

        Raises
        ------
        InputError
            When the number or name is not possible.
        """
        _check(number, first=1)
        before = self.numbered(number) or ObjectClass.standard(number)
        name = before.name if name is None else " ".join(name.split())
        if not name:
            raise InputError("A class needs a name.")
        if any(one.name == name and one.number != number for one in self._state.classes):
            raise InputError(f"There is a class '{name}' already. Choose another name.")
        after = replace(before, name=name, colour=colour or before.colour)
        with self._steps.step("Change class", object_class=number) as draft:
            draft.set("classes", _with(self._state.classes, after))

    def remove(self, number: int) -> None:
        """Remove a class; its objects have none then."""
        with self._steps.step("Remove class", object_class=number) as draft:
            draft.set("classes", tuple(one for one in self._state.classes if one.number != number))
            theirs = {i: r.changed(object_class=0) for i, r in self._state.objects.items() if r.object_class == number}
            if theirs:
                draft.put_all("objects", theirs)
            if self._state.current_class == number:
                draft.set("current_class", 0)

    def load(self, classes: Iterable[ObjectClass], numbers: dict[int, int]) -> None:
        """Take over the classes of an earlier result: id -> number; ids that are not there are passed over."""
        records = self._state.objects
        with self._steps.step("Load classes") as draft:
            draft.set("classes", tuple(sorted(classes, key=lambda one: one.number)))
            changed = {i: records[i].changed(object_class=n) for i, n in numbers.items() if i in records}
            if changed:
                draft.put_all("objects", changed)


def _with(classes: tuple[ObjectClass, ...], one: ObjectClass) -> tuple[ObjectClass, ...]:
    others = [other for other in classes if other.number != one.number]
    return tuple(sorted([*others, one], key=lambda some: some.number))


def _check(number: int, first: int) -> None:
    if not first <= number <= MOST:
        raise InputError(f"There is no class {number}; classes have the numbers 1 to {MOST}.")
