"""Hubs of other places, as far as their records tell: they sign whatever a test wants them to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from hub.domain.admission import Source
from hub.domain.bodies import (
    CollectionBody,
    FileBody,
    NoticeBody,
    ReplyBody,
    encode_collection,
    encode_file,
    encode_notice,
    encode_reply,
)
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.files import CollectionDraft, FileDraft, Licence, MayAdd
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.neighbours import Card
from hub.domain.notices import BlobRef, Kind, NoticeDraft, Picture, ReplyDraft, Scope
from hub.domain.policy import DAY_MS, RETRACT_MARGIN_MS
from hub.domain.records import Header, Record, RecordType, Stream, WireRecord, seal
from hub.domain.sharing import DEFAULT_CHOICES, Choices
from hub.services.identity import Identity, identity_of
from hub.storage import neighbours
from hub.storage.database import Connection

NOW_MS = 1_795_426_860_000
BLOB = BlobRef("ab" * 32, 5, "cd" * 32)
PICTURE = Picture(BLOB, 8, 8, BLOB, 4, 4, "a heron")


def obj(word: str) -> ObjectId:
    """An object that tests call ``word``."""
    return ObjectId(hashlib.sha256(word.encode()).digest()[:16])


def wire(record: Record) -> WireRecord:
    """``record`` as it travels."""
    return WireRecord(record.header_bytes, record.signature, record.body)


@dataclass
class Foreign:
    """A hub with a key of its own; each record is stamped a second after the one before."""

    name: str
    now_ms: int = NOW_MS
    epoch: Epoch = field(default_factory=lambda: Epoch(bytes(8)))
    seq: int = 0

    @property
    def identity(self) -> Identity:
        """Its key, made of its name."""
        return identity_of(hashlib.sha256(self.name.encode()).digest())

    @property
    def hub(self) -> HubId:
        """Its id."""
        return self.identity.hub

    @property
    def source(self) -> Source:
        """It brings something itself."""
        return Source(self.hub)

    def pair(self, connection: Connection, choices: Choices = DEFAULT_CHOICES, since_ms: int = 0) -> None:
        """Make it a neighbour."""
        card = Card(self.hub, self.name, "moss", b"certificate", (), DEFAULT_CHOICES)
        neighbours.add(connection, card, choices, since_ms)

    def says(
        self,
        kind: str,
        about: ObjectId,
        body: bytes | None = None,
        *,
        exp_ms: int | None = None,
        scope: Scope = Scope.NETWORK,
        **more: Any,
    ) -> Record:
        """Sign a record; ``more`` are fields of its header."""
        self.seq += 1
        self.now_ms += 1000
        header = Header(
            hub=self.hub,
            epoch=self.epoch,
            seq=more.pop("seq", self.seq),
            type=kind,
            obj=about,
            stamp=more.pop("stamp", Stamp(self.now_ms, 0)),
            quality=TimeQuality.CARETAKER,
            exp=NOW_MS + 28 * DAY_MS if exp_ms is None else exp_ms,
            scope=scope,
            **more,
        )
        return seal(header, body, self.identity.sign)

    def notice(self, title: str, about: ObjectId | None = None, **more: Any) -> Record:
        """A notice, or a version of it."""
        draft = NoticeDraft(
            more.pop("kind", Kind.GIVE),
            title,
            more.pop("text", f"All about {title}."),
            "en",
            Scope.NETWORK,
            0,
            pictures=more.pop("pictures", ()),
        )
        body = encode_notice(NoticeBody(draft, more.pop("posted_ms", self.now_ms)), bytes(16))
        return self.says(RecordType.NOTICE, obj(title) if about is None else about, body, **more)

    def reply(self, to: ObjectId | None, text: str = "I could use it.", **more: Any) -> Record:
        """A reply."""
        body = encode_reply(ReplyBody(ReplyDraft(text, "en", "Bob"), self.now_ms), bytes(16))
        return self.says(RecordType.REPLY, more.pop("about", obj(f"reply {text}")), body, ref=to, **more)

    def collection(self, title: str, about: ObjectId | None = None, **more: Any) -> Record:
        """A collection."""
        draft = CollectionDraft(
            title, "", "en", "", MayAdd.EVERYONE, Licence.ASK, 0, Scope.NETWORK, NOW_MS + DAY_MS
        )
        body = encode_collection(CollectionBody(draft, self.now_ms), bytes(16))
        about = obj(title) if about is None else about
        return self.says(RecordType.COLLECTION, about, body, stream=Stream.FILES, **more)

    def file(self, name: str, collection: ObjectId, **more: Any) -> Record:
        """A file in a collection."""
        draft = FileDraft(name, BLOB, "", "en", Scope.NETWORK, 0)
        body = encode_file(FileBody(draft, self.now_ms), bytes(16))
        about = more.pop("about", obj(f"file {name}"))
        return self.says(RecordType.FILE, about, body, ref=collection, stream=Stream.FILES, **more)

    def withdraw(self, about: ObjectId, **more: Any) -> Record:
        """It is taken down."""
        return self.says(RecordType.WITHDRAW, about, **more)

    def restore(self, about: ObjectId, **more: Any) -> Record:
        """It is put back."""
        return self.says(RecordType.RESTORE, about, **more)

    def retract(self, about: ObjectId, **more: Any) -> Record:
        """It is erased."""
        more.setdefault("exp_ms", NOW_MS + 28 * DAY_MS + RETRACT_MARGIN_MS)
        return self.says(RecordType.RETRACT, about, **more)
