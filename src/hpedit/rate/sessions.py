"""The rating service: sign raters in, give them the next item, store answers, undo them.

Every method that writes runs on the writer's thread, inside its transaction. The state in memory (assignments,
sessions) is rebuilt from the store at start and after every failed transaction.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpedit.errors import HPEditError
from hpedit.rate.assignment import AssignmentPlan, HeldAssignment, NextItem
from hpedit.rate.gold import swap_sides
from hpedit.rate.items import RatedItem
from hpedit.rate.requests import AnswerBody, Conflict, Missing, clean_name, clean_value, name_key
from hpedit.ratings.responses import matches_expected
from hpedit.ratings.store import (
    AssignmentRow,
    RatingKind,
    RatingStore,
    Value,
    assignment_from_row,
    dump_value,
    load_value,
    utc_now,
)
from hpedit.tasks import TASK_BY_ID

SESSION_SECONDS = 30 * 24 * 3600
"""How long a session lasts, in the browser and here: a copied cookie does not work for ever."""
MAX_RATERS = 2000
"""Raters of one study: whoever knows the token cannot fill the disk with names."""
REMEMBERED = 512
"""Images per rater whose addresses are kept in memory, without looking them up in the store."""


@dataclass(frozen=True, slots=True)
class RatingSettings:
    """How a study is rated."""

    kind: RatingKind
    overlap: int = 3
    """Raters per item."""
    lease: float = 600.0
    """Seconds for which an item is reserved for a rater."""
    retests: int = 5
    """Items that a rater sees twice."""
    seed: str | None = None
    """Of order and sides; None keeps the store's, or draws one."""


class RatingService:
    """One study over one store; see the module's text.

    Args:
        store: held for writing.
        items: to be rated, without gold and practice.
    """

    def __init__(
        self,
        store: RatingStore,
        items: Sequence[RatedItem],
        settings: RatingSettings,
        gold: Sequence[RatedItem] = (),
        practice: Sequence[RatedItem] = (),
    ) -> None:
        self.settings, self._store = settings, store
        self._items, self._gold, self._practice = items, gold, practice
        with store.transaction():
            self._fix_settings()
            for item in (*items, *gold):
                self._register(item)
        seed, secret = store.meta("seed"), store.meta("secret")
        assert seed is not None, "fixed above"
        assert secret is not None, "every store is created with one"
        self._seed, self._secret = seed, bytes.fromhex(secret)
        self._pictures: dict[int, OrderedDict[str, str]] = {}
        self._pictures_lock = threading.Lock()
        self.reload()

    def _fix_settings(self) -> None:
        """Store mode and seed for good, so that order and sides can be reproduced; HPEditError if they differ."""
        for key, asked in (("kind", self.settings.kind), ("seed", self.settings.seed)):
            stored = self._store.meta(key)
            if stored is None:
                self._query("INSERT INTO meta VALUES (?, ?)", key, secrets.token_hex(8) if asked is None else asked)
            elif asked not in (None, stored):
                message = f"{self._store.path} was made with {key} {stored}, not {asked}"
                raise HPEditError(message, hint="choose another --db")

    def _register(self, item: RatedItem) -> None:
        """Add an item to the store; HPEditError if its id is stored with other images or another instruction."""
        content = self._value("SELECT content FROM items WHERE id = ?", item.id)
        if content is None:
            self._query("INSERT INTO items VALUES (?, ?, ?, ?)", item.id, item.kind, item.content, item.description())
        elif content != item.content:
            raise HPEditError(
                f"{item.id} has other pictures or another instruction than {self._store.path} was made with",
                hint="rate other edits in another --db, or give them other ids",
            )

    def _query(self, sql: str, *values: Any) -> Any:
        return self._store.connection.execute(sql, values)

    def _value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self._query(sql, *values).fetchone()
        return None if row is None else row[0]

    def _change(self, column: str, value: object) -> Any:
        return self._query(f"SELECT * FROM changes WHERE {column} = ?", value).fetchone()

    def reload(self) -> None:
        """Rebuild assignments and sessions from the store."""
        plan = AssignmentPlan(
            self._items, seed=self._seed, overlap=self.settings.overlap, lease=self.settings.lease,
            gold=self._gold, practice=self._practice, retests=self.settings.retests,
        )  # fmt: skip
        for row in self._query("SELECT * FROM assignments ORDER BY id"):
            plan.issued(assignment_from_row(row))
        for row in self._query(
            "SELECT changes.id, opaque, value FROM changes JOIN assignments ON assignments.id = changes.assignment"
            " WHERE value IS NOT NULL AND changes.id NOT IN (SELECT supersedes FROM changes WHERE supersedes NOT NULL)"
            " ORDER BY changes.id"
        ):
            value = load_value(row["value"])
            assert value is not None
            plan.answered(row["opaque"], row["id"], value)
        self.plan = plan
        self.sessions = {row["digest"]: (row["rater"], row["time"]) for row in self._query("SELECT * FROM sessions")}
        self.names: dict[int, str] = {row["id"]: row["name"] for row in self._query("SELECT id, name FROM raters")}

    @property
    def count(self) -> int:
        """Number of items to rate, gold included."""
        return len(self._items) + len(self._gold)

    @property
    def completed(self) -> int:
        """Number of items that have as many ratings as are wanted."""
        return self.plan.completed

    # Sessions

    def session(self, cookie: str) -> int | None:
        """The rater whom a session cookie belongs to; None if there is none, or it has expired. Any thread."""
        rater, since = self.sessions.get(_digest(cookie), (None, ""))
        return rater if rater is not None and _age(since) < SESSION_SECONDS else None

    def require_token(self, token: str | None) -> None:
        """End all sessions if the server's token is another than before: who knew the old one must sign in again."""
        mark = self._opaque_name("token", token or "")
        with self._store.transaction():
            before = self._store.meta("token")
            if before not in (None, mark):
                self._query("DELETE FROM sessions")
            self._query("INSERT OR REPLACE INTO meta VALUES ('token', ?)", mark)
        self.reload()

    def sign_in(self, name: str) -> tuple[str, dict[str, Any]]:
        """Start a session for the rater of that name, registering a new one; returns its cookie and `who`."""
        name = clean_name(name)
        key = name_key(name)
        rater = self._value("SELECT id FROM raters WHERE key IN (?, ?)", key, name.casefold())
        if rater is None:
            if len(self.names) >= MAX_RATERS:
                raise Conflict(f"this study has {MAX_RATERS} raters already", hint="ask whoever runs the study")
            added = self._query("INSERT INTO raters (key, name, time) VALUES (?, ?, ?)", key, name, utc_now())
            rater = added.lastrowid
            self.names[rater] = name
        cookie = secrets.token_urlsafe(32)
        now = utc_now()
        self._query("INSERT INTO sessions VALUES (?, ?, ?)", _digest(cookie), rater, now)
        self.sessions[_digest(cookie)] = (rater, now)
        return cookie, self.who(rater)

    def sign_out(self, cookie: str) -> None:
        """End a session."""
        self._query("DELETE FROM sessions WHERE digest = ?", _digest(cookie))
        self.sessions.pop(_digest(cookie), None)

    def who(self, rater: int) -> dict[str, Any]:
        """The rater's name and remaining practice items."""
        progress = self.plan.progress(rater)
        return {"rater": self.names[rater], "practice_left": progress.practice_total - progress.practice_done}

    # Items

    def next(self, rater: int, ahead: int = 0) -> dict[str, Any]:
        """The rater's current item and up to `ahead` further ones, leased too, as JSON for the page."""
        holdings: list[HeldAssignment] = []
        while len(holdings) <= ahead and (found := self.plan.item_for(rater, len(holdings))) is not None:
            holdings.append(self._assign(rater, found) if isinstance(found, NextItem) else found)
        if not holdings:
            return {"done": True, "progress": asdict(self.plan.progress(rater))}
        now, *later = map(self._item_json, holdings)
        return {"item": now, "ahead": later}

    def _assign(self, rater: int, choice: NextItem) -> HeldAssignment:
        """Record which item is shown to which rater, in which order."""
        item = choice.item
        edits = item.edits[::-1] if choice.swapped else item.edits
        expected = swap_sides(item.expected) if choice.swapped and item.expected is not None else item.expected
        row = {
            "opaque": self._opaque_name("assignment", rater, choice.phase, item.id),
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
        marks = ", ".join("?" * len(row))
        added = self._query(f"INSERT INTO assignments ({', '.join(row)}) VALUES ({marks})", *row.values())
        return self.plan.issued(assignment_from_row({**row, "id": added.lastrowid}))

    def _item_json(self, holding: HeldAssignment) -> dict[str, Any]:
        shown = holding.shown
        first = self.plan.items[shown.item].first
        task = TASK_BY_ID.get(first.task or "")
        source, *edits = self._picture_addresses(shown)
        references = len(first.references)
        return {
            "assignment": shown.opaque,
            "kind": shown.kind,
            # Gold items and retests must look like any other.
            "phase": "practice" if shown.phase == "practice" else "rate",
            "task": task.name if task else first.task,
            "instruction": first.instruction,
            "source": source,
            "references": edits[:references],
            "edits": edits[references:],
            "width": first.size[0],
            "height": first.size[1],
            "lease_seconds": int(self.settings.lease),
            "progress": asdict(self.plan.progress(shown.rater)),
        }

    # Images

    def _picture_addresses(self, shown: AssignmentRow) -> list[str]:
        """Addresses of source, references and edits as shown; the rater can request them from now on."""
        item = self.plan.items[shown.item]
        edits = sorted(item.edits, key=lambda edit: shown.edit_ids.index(edit.edit_id))
        keys = [item.first.source, *item.first.references, *(edit.picture for edit in edits if edit.picture)]
        names = [self._opaque_name("picture", shown.opaque, slot) for slot in range(len(keys))]
        with self._pictures_lock:
            known = self._pictures.setdefault(shown.rater, OrderedDict())
            for name, key in zip(names, keys, strict=True):
                known[name] = key
                known.move_to_end(name)
            while len(known) > REMEMBERED:
                known.popitem(last=False)
        return [f"/picture/{name}" for name in names]

    def known_picture(self, rater: int, name: str) -> str | None:
        """The cache key of an image that this rater was shown recently, or None. Any thread."""
        with self._pictures_lock:
            known = self._pictures.get(rater)
            return None if known is None else known.get(name)

    def find_picture(self, rater: int, name: str) -> str:
        """Like `known_picture`, including items shown before the server's last start; raises Missing."""
        for holding in self.plan.rater(rater).open:
            if holding.shown.item in self.plan.items:
                self._picture_addresses(holding.shown)
        key = self.known_picture(rater, name)
        if key is None:
            raise Missing("no such picture", hint="ask for the next item")
        return key

    # Answers

    def answer(self, rater: int, new: AnswerBody) -> dict[str, Any]:
        """Store an answer once, however often it is sent; raises Missing, Invalid or Conflict."""
        holding = self.plan.holding(new.assignment)
        if holding is None or holding.shown.rater != rater:
            raise Missing("no such assignment", hint="ask for the next item")
        shown = holding.shown
        item = self.plan.items.get(shown.item)
        value = clean_value(new.value, shown.kind, item.first.instruction if item else "")
        duplicate = self._is_duplicate(rater, new, value, holding)
        if not duplicate:
            added = self._query(
                "INSERT INTO changes (client_id, rater, assignment, value, flags, ms, client_time, time, late)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                new.client_id, rater, shown.id, dump_value(value), json.dumps(new.flags), new.ms, new.client_time,
                utc_now(), int(self.plan.late(holding)),
            )  # fmt: skip
            self.plan.answered(shown.opaque, added.lastrowid, value)
        feedback = None
        if shown.phase == "practice" and shown.expected is not None and item is not None:
            right = matches_expected(value, shown.expected)
            feedback = {"expected": shown.expected, "right": right, "text": item.text}
        progress = asdict(self.plan.progress(rater))
        return {"stored": True, "duplicate": duplicate, "progress": progress, "feedback": feedback}

    def _is_duplicate(self, rater: int, new: AnswerBody, value: Value, holding: HeldAssignment) -> bool:
        """Whether this very answer is stored; raises Conflict if another one is."""
        row = self._change("client_id", new.client_id)
        if row is not None:
            same = row["rater"] == rater and row["assignment"] == holding.shown.id
            if not same or row["value"] != dump_value(value):
                raise Conflict("this client_id belongs to another answer", hint="make a new one for each answer")
            return True
        if holding.change is None:
            return False
        row = self._change("id", holding.change)
        if row["value"] == dump_value(value) and row["flags"] == json.dumps(new.flags):
            # A double click, or the same decision in two tabs.
            return True
        raise Conflict("this item already has another answer", hint="undo that one to change it")

    def undo(self, rater: int, client_id: str, answer: str | None) -> dict[str, Any]:
        """Undo an answer (None: the rater's last one) by a further change, and show its item again."""
        row = self._change("client_id", client_id)
        if row is None:
            target = self._answer_to_undo(rater, answer)
            self._query(
                "INSERT INTO changes (client_id, rater, assignment, supersedes, time) VALUES (?, ?, ?, ?, ?)",
                client_id, rater, target["assignment"], target["id"], utc_now(),
            )  # fmt: skip
        elif row["rater"] != rater or row["supersedes"] is None:
            raise Conflict("this client_id belongs to another change", hint="make a new one for each undo")
        else:
            target = self._change("id", row["supersedes"])
        opaque = self._value("SELECT opaque FROM assignments WHERE id = ?", target["assignment"])
        if row is None:
            self.plan.undone(opaque)
        holding = self.plan.holding(opaque)
        assert holding is not None
        if holding.shown.item not in self.plan.items:
            return {"stored": True, "item": None}
        return {"stored": True, "item": {**self._item_json(holding), "previous": load_value(target["value"])}}

    def _answer_to_undo(self, rater: int, answer: str | None) -> Any:
        """The row of the answer to undo; raises Missing or Conflict."""
        answered = self.plan.rater(rater).answered
        if answer is None:
            row = self._change("id", answered[-1].change if answered else None)
        else:
            row = self._query("SELECT * FROM changes WHERE client_id = ? AND value NOT NULL", answer).fetchone()
        if row is None or row["rater"] != rater:
            raise Missing("no such answer", hint="ask for the next item")
        holding = next((holding for holding in answered if holding.change == row["id"]), None)
        if holding is None:
            raise Conflict("this answer has already been undone", hint="ask for the next item")
        if holding.shown.phase == "practice":
            raise Conflict("practice cannot be undone", hint="it does not count")
        return row

    def _opaque_name(self, *what: object) -> str:
        """A name that reveals nothing without the store's secret and is the same at every start (HMAC)."""
        message = "\0".join(map(str, what)).encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()[:40]


def _age(since: str) -> float:
    """Seconds since a time that `utc_now` wrote."""
    then = datetime.datetime.fromisoformat(since)
    return (datetime.datetime.now(datetime.UTC) - then).total_seconds()


def _digest(cookie: str) -> str:
    """The part of a cookie that is stored: a copy of the store does not let anybody sign in."""
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).hexdigest()
