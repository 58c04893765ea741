"""What the server does for a rater: sign in, give the next item, take an answer, take one back.

Every method that writes runs on the writer's thread, inside its transaction. Memory (the plan, the sessions) is
rebuilt from the store at a start and after every transaction that failed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from hpedit.errors import HPEditError
from hpedit.rate.assignment import Choice, Holding, Plan
from hpedit.rate.gold import swapped
from hpedit.rate.items import Exhibit, Item
from hpedit.rate.practice import is_right
from hpedit.rate.requests import Conflict, Missing, NewAnswer, clean_name, clean_value
from hpedit.ratings.store import Kind, RatingStore, Shown, Value, dump_value, load_value, shown_of, utc_now
from hpedit.tasks import TASK_BY_ID

REMEMBERED = 512
"""Pictures of a rater that can be asked for again without looking them up."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run is rated."""

    kind: Kind
    overlap: int = 3
    """Raters an item."""
    lease: float = 600.0
    """Seconds for which an item is kept for a rater."""
    retests: int = 5
    """Items that a rater sees twice."""
    seed: str | None = None
    """Of order and sides; None keeps the store's, or draws one."""


class Desk:
    """One run of one store; see the module's text.

    Args:
        store: Held for writing.
        items: To be rated, without gold and practice.
    """

    def __init__(
        self,
        store: RatingStore,
        items: Sequence[Item],
        settings: RunSettings,
        gold: Sequence[Item] = (),
        practice: Sequence[Item] = (),
    ) -> None:
        self._store, self._settings = store, settings
        self._items, self._gold, self._practice = items, gold, practice
        with store.transaction():
            self._seed = self._agree_on_settings()
            for item in (*items, *gold):
                self._register(item)
        secret = store.meta("secret")
        assert secret is not None, "the store is made with one"
        self._secret = bytes.fromhex(secret)
        self._pictures: dict[int, OrderedDict[str, str]] = {}
        self._pictures_lock = threading.Lock()
        self.reload()

    def _agree_on_settings(self) -> str:
        """Keep mode and seed for good: order and sides are to be reproduced from the store. Returns the seed."""
        settings = self._settings
        for key, asked in (("kind", settings.kind), ("seed", settings.seed)):
            there = self._store.meta(key)
            if there is None:
                value = secrets.token_hex(8) if asked is None else asked
                self._store.connection.execute("INSERT INTO meta VALUES (?, ?)", (key, value))
            elif asked not in (None, there):
                raise HPEditError(
                    f"{self._store.path} was made with {key} {there}, not {asked}", hint="choose another --db"
                )
        seed = self._store.meta("seed")
        assert seed is not None
        return seed

    def _register(self, item: Item) -> None:
        """Add an item to the store; HPEditError if other pictures stand there under its id."""
        row = self._store.connection.execute("SELECT content FROM items WHERE id = ?", (item.id,)).fetchone()
        if row is None:
            values = (item.id, item.kind, item.content, item.description())
            self._store.connection.execute("INSERT INTO items VALUES (?, ?, ?, ?)", values)
        elif row["content"] != item.content:
            raise HPEditError(
                f"{item.id} has other pictures or another instruction than {self._store.path} was made with",
                hint="rate other edits in another --db, or give them other ids",
            )

    def reload(self) -> None:
        """Build plan and sessions from the store."""
        plan = Plan(
            self._items, seed=self._seed, overlap=self._settings.overlap, lease=self._settings.lease,
            gold=self._gold, practice=self._practice, retests=self._settings.retests,
        )  # fmt: skip
        query = self._store.connection.execute
        for row in query("SELECT * FROM assignments ORDER BY id"):
            plan.issued(shown_of(row))
        for row in query(
            "SELECT changes.id, opaque, value FROM changes JOIN assignments ON assignments.id = changes.assignment"
            " WHERE value IS NOT NULL AND changes.id NOT IN (SELECT supersedes FROM changes WHERE supersedes NOT NULL)"
            " ORDER BY changes.id"
        ):
            value = load_value(row["value"])
            assert value is not None
            plan.answered(row["opaque"], row["id"], value)
        self.plan = plan
        self.sessions: dict[str, int] = {row["digest"]: row["rater"] for row in query("SELECT * FROM sessions")}
        self.names: dict[int, str] = {row["id"]: row["name"] for row in query("SELECT id, name FROM raters")}

    @property
    def count(self) -> int:
        """Items to be rated, gold included."""
        return len(self._items) + len(self._gold)

    @property
    def completed(self) -> int:
        """Items that have as many ratings as are wanted."""
        return self.plan.completed

    @property
    def kind(self) -> Kind:
        """What raters do here."""
        return self._settings.kind

    # Sessions

    def session(self, cookie: str) -> int | None:
        """The rater of a cookie, or None. Any thread."""
        return self.sessions.get(_digest(cookie))

    def sign_in(self, name: str) -> tuple[str, dict[str, Any]]:
        """A new cookie, and `who` of the rater of that name, whom it makes where there is none."""
        name = clean_name(name)
        key, query = name.casefold(), self._store.connection.execute
        row = query("SELECT id FROM raters WHERE key = ?", (key,)).fetchone()
        if row is None:
            cursor = query("INSERT INTO raters (key, name, time) VALUES (?, ?, ?)", (key, name, utc_now()))
            assert cursor.lastrowid is not None
            rater = cursor.lastrowid
            self.names[rater] = name
        else:
            rater = int(row["id"])
        cookie = secrets.token_urlsafe(32)
        query("INSERT INTO sessions VALUES (?, ?, ?)", (_digest(cookie), rater, utc_now()))
        self.sessions[_digest(cookie)] = rater
        return cookie, self.who(rater)

    def sign_out(self, cookie: str) -> None:
        """End a session."""
        self._store.connection.execute("DELETE FROM sessions WHERE digest = ?", (_digest(cookie),))
        self.sessions.pop(_digest(cookie), None)

    def who(self, rater: int) -> dict[str, Any]:
        """The rater's name, and how much practice is left."""
        progress = self.plan.progress(rater)
        return {"rater": self.names[rater], "practice_left": progress.practice_total - progress.practice_done}

    # Items

    def next(self, rater: int, ahead: int = 0) -> dict[str, Any]:
        """What the rater sees now, and up to `ahead` items that come after it, leased too, as the page takes it."""
        holdings: list[Holding] = []
        while len(holdings) <= ahead and (found := self.plan.after(rater, len(holdings))) is not None:
            holdings.append(self._issue(rater, found) if isinstance(found, Choice) else found)
        if not holdings:
            return {"done": True, "progress": self._progress(rater)}
        now, *later = map(self._item, holdings)
        return {"item": now, "ahead": later}

    def _issue(self, rater: int, choice: Choice) -> Holding:
        """Record what is shown to whom, in which order."""
        item, edits = choice.item, _in_order(choice.item, choice.swapped)
        expected = swapped(item.expected) if choice.swapped and item.expected is not None else item.expected
        row = {
            "opaque": self._mac("assignment", rater, choice.phase, item.id),
            "rater": rater,
            "item": item.id,
            "kind": item.kind,
            "phase": choice.phase,
            "edit_ids": json.dumps([edit.edit_id for edit in edits], ensure_ascii=False),
            "case_id": item.first.case_id,
            "task": item.first.task,
            "expected": dump_value(expected),
            "time": utc_now(),
        }
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        cursor = self._store.connection.execute(f"INSERT INTO assignments ({names}) VALUES ({marks})", row)
        return self.plan.issued(shown_of({**row, "id": cursor.lastrowid}))

    def _item(self, holding: Holding) -> dict[str, Any]:
        shown = holding.shown
        item = self.plan.items[shown.item]
        task = TASK_BY_ID.get(item.first.task or "")
        source, *edits = self._remember(shown)
        references = len(item.first.references)
        return {
            "assignment": shown.opaque,
            "kind": shown.kind,
            "phase": "practice" if shown.phase == "practice" else "rate",
            "task": task.name if task else item.first.task,
            "instruction": item.first.instruction,
            "source": source,
            "references": edits[:references],
            "edits": edits[references:],
            "width": item.first.size[0],
            "height": item.first.size[1],
            "lease_seconds": int(self._settings.lease),
            "progress": self._progress(shown.rater),
        }

    def _progress(self, rater: int) -> dict[str, Any]:
        return asdict(self.plan.progress(rater))

    # Pictures

    def _remember(self, shown: Shown) -> list[str]:
        """Addresses of source, references and edits as shown, which the rater can ask for from now on."""
        item = self.plan.items[shown.item]
        edits = sorted(item.edits, key=lambda edit: shown.edit_ids.index(edit.edit_id))
        keys = [item.first.source, *item.first.references, *(edit.picture for edit in edits if edit.picture)]
        names = [self._mac("picture", shown.opaque, slot) for slot in range(len(keys))]
        with self._pictures_lock:
            known = self._pictures.setdefault(shown.rater, OrderedDict())
            for name, key in zip(names, keys, strict=True):
                known[name] = key
                known.move_to_end(name)
            while len(known) > REMEMBERED:
                known.popitem(last=False)
        return [f"/picture/{name}" for name in names]

    def known_picture(self, rater: int, name: str) -> str | None:
        """The shelf's key of a picture that this rater was shown of late, or None. Any thread."""
        with self._pictures_lock:
            known = self._pictures.get(rater)
            return None if known is None else known.get(name)

    def find_picture(self, rater: int, name: str) -> str:
        """The same for what was shown before the last start of the server; Missing for anything else."""
        for holding in self.plan.rater(rater).open:
            if holding.shown.item in self.plan.items:
                self._remember(holding.shown)
        key = self.known_picture(rater, name)
        if key is None:
            raise Missing("there is no such picture", hint="ask for the next item")
        return key

    # Answers

    def answer(self, rater: int, new: NewAnswer) -> dict[str, Any]:
        """Store an answer, once, however often it is sent."""
        holding = self.plan.holding(new.assignment)
        if holding is None or holding.shown.rater != rater:
            raise Missing("there is no such assignment", hint="ask for the next item")
        shown = holding.shown
        item = self.plan.items.get(shown.item)
        new = replace(new, value=clean_value(new.value, shown.kind, item.first.instruction if item else ""))
        duplicate = self._is_duplicate(rater, new, holding)
        if not duplicate:
            values = (
                new.client_id, rater, shown.id, dump_value(new.value), json.dumps(new.flags), new.ms, new.client_time,
                utc_now(), int(self.plan.late(holding)),
            )  # fmt: skip
            cursor = self._store.connection.execute(
                "INSERT INTO changes (client_id, rater, assignment, value, flags, ms, client_time, time, late)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            assert cursor.lastrowid is not None
            self.plan.answered(shown.opaque, cursor.lastrowid, new.value)
        return {
            "stored": True,
            "duplicate": duplicate,
            "progress": self._progress(rater),
            "feedback": self._feedback(shown, new.value),
        }

    def _is_duplicate(self, rater: int, new: NewAnswer, holding: Holding) -> bool:
        """Whether this very answer is stored; Conflict if another one stands in its place."""
        query = self._store.connection.execute
        row = query("SELECT * FROM changes WHERE client_id = ?", (new.client_id,)).fetchone()
        if row is not None:
            same = row["rater"] == rater and row["assignment"] == holding.shown.id
            if not same or row["value"] != dump_value(new.value):
                raise Conflict("this client_id belongs to another answer", hint="make a new one for each answer")
            return True
        if holding.change is None:
            return False
        row = query("SELECT * FROM changes WHERE id = ?", (holding.change,)).fetchone()
        if row["value"] == dump_value(new.value) and row["flags"] == json.dumps(new.flags):
            # A double click, or the same decision in two tabs.
            return True
        raise Conflict("this item has another answer already", hint="undo that one to change it")

    def _feedback(self, shown: Shown, value: Value) -> dict[str, Any] | None:
        """What the rater learns: in practice alone."""
        if shown.phase != "practice" or shown.expected is None or shown.item not in self.plan.items:
            return None
        text = self.plan.items[shown.item].text
        return {"expected": shown.expected, "right": is_right(value, shown.expected), "text": text}

    def undo(self, rater: int, client_id: str, answer: str | None) -> dict[str, Any]:
        """Take an answer back by one more change, and show its item again; `answer` None means the last one."""
        query = self._store.connection.execute
        row = query("SELECT * FROM changes WHERE client_id = ?", (client_id,)).fetchone()
        if row is None:
            target = self._to_undo(rater, answer)
            opaque = self._opaque(target["assignment"])
            query(
                "INSERT INTO changes (client_id, rater, assignment, supersedes, time) VALUES (?, ?, ?, ?, ?)",
                (client_id, rater, target["assignment"], target["id"], utc_now()),
            )
            self.plan.undone(opaque)
        else:
            if row["rater"] != rater or row["supersedes"] is None:
                raise Conflict("this client_id belongs to another change", hint="make a new one for each undo")
            target = query("SELECT * FROM changes WHERE id = ?", (row["supersedes"],)).fetchone()
            opaque = self._opaque(target["assignment"])
        holding = self.plan.holding(opaque)
        assert holding is not None
        if holding.shown.item not in self.plan.items:
            return {"stored": True, "item": None}
        return {"stored": True, "item": {**self._item(holding), "previous": load_value(target["value"])}}

    def _to_undo(self, rater: int, answer: str | None) -> Any:
        """The row of the answer to take back."""
        answered = self.plan.rater(rater).answered
        query = self._store.connection.execute
        if answer is None:
            change = answered[-1].change if answered else None
            row = query("SELECT * FROM changes WHERE id = ?", (change,)).fetchone()
        else:
            row = query("SELECT * FROM changes WHERE client_id = ? AND value NOT NULL", (answer,)).fetchone()
        if row is None or row["rater"] != rater:
            raise Missing("there is no such answer", hint="ask for the next item")
        holding = next((holding for holding in answered if holding.change == row["id"]), None)
        if holding is None:
            raise Conflict("this answer was taken back already", hint="ask for the next item")
        if holding.shown.phase == "practice":
            raise Conflict("practice cannot be taken back", hint="it does not count")
        return row

    def _opaque(self, assignment: int) -> str:
        row = self._store.connection.execute("SELECT opaque FROM assignments WHERE id = ?", (assignment,)).fetchone()
        return str(row["opaque"])

    def _mac(self, *what: object) -> str:
        """An opaque name that says nothing to whoever lacks the store's secret, and is the same at every start."""
        message = "\0".join(map(str, what)).encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()[:40]


def _in_order(item: Item, exchanged: bool) -> tuple[Exhibit, ...]:
    return item.edits[::-1] if exchanged else item.edits


def _digest(cookie: str) -> str:
    """What is kept of a cookie: who reads the store cannot use it."""
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).hexdigest()
