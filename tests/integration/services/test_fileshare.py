"""The file share as residents and caretakers use it: names, duplicates, quotas, undo, holding, erasing."""

from __future__ import annotations

import asyncio
import hashlib
import zlib

import pytest

from hub.domain.errors import HubError, NotFound
from hub.domain.policy import Gone, NotYours, PostingPaused, Reason, TooLate
from hub.domain.submission import FormRefused
from hub.services.filekeeping import BadCollection, Wanted
from hub.services.fileshare import (
    CollectionFull,
    MayNotAdd,
    NoFiles,
    Outcome,
    Receipt,
    TypedFile,
    TypedFiles,
)
from hub.storage.uploads import EnoughBytesToday, EnoughFilesToday
from tests.integration.conftest import RULE, Street
from tests.world_content.pictures import photograph

ROTA = b"Mondays: number 14.\n"
MENU = b"%PDF-1.4 soup"


def outcomes(receipt: Receipt) -> list[tuple[str, Outcome]]:
    return [(line.name, line.outcome) for line in receipt.lines]


async def test_a_file_is_found_by_its_name_and_has_the_hash_of_its_bytes(street: Street) -> None:
    shelf, ada = await street.shelf(), street.person("Ada")
    [line] = (await ada.adds(shelf, ("Rota for May.txt", ROTA))).lines
    shown = await street.hub.share.file(line.public_id)
    assert shown.file.blob.sha256 == hashlib.sha256(ROTA).hexdigest()
    assert (shown.file.blob.size, shown.file.author, shown.mine) == (len(ROTA), "Ada", False)
    assert street.hub.blobs.path(shown.file.blob.sha256).read_bytes() == ROTA
    assert await street.found("rota may") == ["Rota for May.txt"]
    assert (await street.hub.share.file(line.public_id, ada.cookie)).mine
    assert not list((street.data / "uploads").iterdir())


async def test_collections_are_found_too_and_those_with_the_newest_file_come_first(street: Street) -> None:
    first, second = await street.shelf("Minutes"), await street.shelf("Choir", description="Low voices")
    await street.person("Ada").adds(second, ("Alto.txt", b"la"))
    street.clock.pass_time(minutes=1)
    await street.person("Ada").adds(first, ("May.txt", b"present: nine"))
    assert [item.title for item in await street.hub.share.collections()] == ["Minutes", "Choir"]
    assert await street.found("voices") == ["Choir"]
    [newest, *_] = await street.hub.share.newest(5)
    assert (newest[0].name, newest[1].title) == ("May.txt", "Minutes")


async def test_the_same_name_with_other_bytes_gets_a_number_and_the_receipt_says_so(street: Street) -> None:
    shelf, ada = await street.shelf(), street.person("Ada")
    await ada.adds(shelf, ("Menu.pdf", MENU))
    street.clock.pass_time(seconds=1)
    receipt = await ada.adds(shelf, ("Menu.pdf", MENU + b" and bread"), ("menu.PDF", MENU + b" and salt"))
    assert outcomes(receipt) == [("Menu (2).pdf", Outcome.RENAMED), ("menu (3).PDF", Outcome.RENAMED)]
    assert await street.lies_in(shelf) == ["Menu.pdf", "Menu (2).pdf", "menu (3).PDF"]


async def test_the_very_same_file_is_not_added_twice_and_same_bytes_are_stored_once(street: Street) -> None:
    shelf, other, ada = await street.shelf(), await street.shelf("Other"), street.person("Ada")
    [first] = (await ada.adds(shelf, ("Menu.pdf", MENU))).lines
    again = await ada.adds(shelf, ("Menu.pdf", MENU))
    assert outcomes(again) == [("Menu.pdf", Outcome.ALREADY_HERE)]
    assert again.lines[0].public_id == first.public_id
    assert again.phrase == ""
    await ada.adds(shelf, ("Karta.pdf", MENU))
    await ada.adds(other, ("Menu.pdf", MENU))
    kept = [path for path in (street.data / "blobs").rglob("*") if path.is_file()]
    assert len(kept) == 1


async def test_a_form_that_is_sent_twice_adds_its_files_once(street: Street) -> None:
    shelf, ada = await street.shelf(), street.person("Ada")
    first = await ada.adds(shelf, ("a.txt", b"a"), ("b.txt", b"b"), key="one")
    again = await ada.adds(shelf, ("a.txt", b"a"), ("b.txt", b"b"), key="one")
    assert again.again
    assert [line.public_id for line in again.lines] == [line.public_id for line in first.lines]
    assert await street.lies_in(shelf) == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\rota.txt", "rota.txt"),
        ("a\0b\x1b[31m.txt", "ab[31m.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("con.txt", "_con.txt"),
        ("LPT1", "_LPT1"),
        ("x" * 5000 + ".pdf", "x" * 115 + "….pdf"),
        ("   ", "file"),
        ("رقم الهاتف.txt", "رقم الهاتف.txt"),
    ],
)
async def test_hostile_names_are_kept_as_what_is_harmless_of_them(
    street: Street, typed: str, kept: str
) -> None:
    shelf = await street.shelf()
    [line] = (await street.person("Eve").adds(shelf, (typed, b"x"))).lines
    assert line.name == kept
    outside = [path.name for path in street.data.iterdir()]
    assert not {"passwd", "rota.txt"} & set(outside)


async def test_an_empty_file_is_a_file(street: Street) -> None:
    shelf = await street.shelf()
    [line] = (await street.person("Ada").adds(shelf, ("empty.txt", b""))).lines
    assert (await street.hub.share.file(line.public_id)).file.blob.size == 0


async def test_a_photograph_loses_its_place_unless_the_original_is_kept(street: Street) -> None:
    shelf, ada = await street.shelf(), street.person("Ada")
    taken = await asyncio.to_thread(photograph, "ladder", width=400, location=True)
    [line] = (await ada.adds(shelf, ("Ladder.jpg", taken))).lines
    file = (await street.hub.share.file(line.public_id)).file
    shown = await asyncio.to_thread(street.hub.blobs.read, file.blob.sha256)
    assert b"GPS" not in shown
    assert file.blob.sha256 != hashlib.sha256(taken).hexdigest()
    assert file.picture is not None
    assert file.picture.width == 400
    assert await street.hub.share.picture_is_shown(file.picture.thumb.sha256)
    assert not await street.hub.share.picture_is_shown(file.blob.sha256)
    assert not list((street.data / "tmp").iterdir())


async def test_only_caretakers_add_where_only_caretakers_may(street: Street) -> None:
    shelf = await street.shelf(may_add="caretakers")
    with pytest.raises(MayNotAdd):
        await street.person("Ada").adds(shelf, ("a.txt", b"a"))
    with pytest.raises(MayNotAdd):
        await street.hub.share.require_may_add(shelf.public_id, street.person("Ada").asker())
    assert await street.lies_in(shelf) == []


async def test_what_is_checked_first_is_seen_by_its_author_until_it_is_approved(street: Street) -> None:
    shelf, ada = await street.shelf(may_add="checked"), street.person("Ada")
    receipt = await ada.adds(shelf, ("Rota.txt", ROTA))
    assert receipt.held
    [line] = receipt.lines
    with pytest.raises(NotFound):
        await street.hub.share.file(line.public_id)
    assert (await street.hub.share.file(line.public_id, ada.cookie)).waiting
    own = await street.hub.share.collection(shelf.public_id, ada.cookie)
    assert [file.name for file in own.waiting] == ["Rota.txt"]
    [waiting] = await street.hub.caretaking.waiting()
    assert waiting.of == "file"
    await street.hub.caretaking.approve(line.public_id, "gwen")
    assert await street.lies_in(shelf) == ["Rota.txt"]


async def test_a_held_name_that_was_taken_meanwhile_gets_a_number_when_it_is_approved(
    street: Street,
) -> None:
    shelf = await street.shelf(may_add="checked")
    [first] = (await street.person("Ada").adds(shelf, ("Rota.txt", ROTA))).lines
    [second] = (await street.person("Bob").adds(shelf, ("Rota.txt", ROTA + b"!"))).lines
    for line in (first, second):
        await street.hub.caretaking.approve(line.public_id, "gwen")
    assert set(await street.lies_in(shelf)) == {"Rota.txt", "Rota (2).txt"}


async def test_a_refused_file_leaves_no_byte(street: Street) -> None:
    shelf = await street.shelf(may_add="checked")
    [line] = (await street.person("Ada").adds(shelf, ("Rota.txt", ROTA))).lines
    await street.hub.caretaking.refuse(line.public_id, RULE, "gwen")
    assert not [path for path in (street.data / "blobs").rglob("*") if path.is_file()]
    with pytest.raises(NotFound):
        await street.hub.caretaking.item(line.public_id)


async def test_paused_posting_pauses_files_too(street: Street) -> None:
    shelf = await street.shelf()
    await street.setting("board.posting", "paused")
    with pytest.raises(PostingPaused):
        await street.person("Ada").adds(shelf, ("a.txt", b"a"))


async def test_its_owner_takes_a_file_down_and_puts_it_back_within_half_an_hour(street: Street) -> None:
    shelf, ada = await street.shelf(), street.person("Ada")
    [line] = (await ada.adds(shelf, ("Rota.txt", ROTA))).lines
    with pytest.raises(NotYours):
        await street.hub.share.take_down(line.public_id, street.person("Bob").asker())
    await street.hub.share.take_down(line.public_id, ada.asker())
    with pytest.raises(Gone):
        await street.hub.share.bytes_of(line.public_id)
    assert await street.found("rota") == ["Rotas"]
    phrase = ada.phrases[line.public_id]
    await street.hub.share.put_back(line.public_id, street.person("Cy").asker(phrase))
    assert await street.lies_in(shelf) == ["Rota.txt"]
    await street.hub.share.take_down(line.public_id, ada.asker())
    street.clock.pass_time(minutes=31)
    with pytest.raises(TooLate):
        await street.hub.share.put_back(line.public_id, ada.asker())
    await street.hub.housekeeping.round()
    assert not [path for path in (street.data / "blobs").rglob("*") if path.is_file()]
    assert ROTA not in (street.data / "hub.db").read_bytes()


async def test_its_owner_changes_name_and_description_and_names_stay_single(street: Street) -> None:
    shelf, ada = await street.shelf(), street.person("Ada")
    [first, second] = (await ada.adds(shelf, ("a.txt", b"a"), ("b.txt", b"b"))).lines
    await street.hub.share.change(
        second.public_id, TypedFile("A.TXT", "The second letter", "en"), ada.asker(), "en"
    )
    assert await street.lies_in(shelf) == ["a.txt", "A (2).TXT"]
    assert await street.found("second letter") == ["A (2).TXT"]
    with pytest.raises(NotYours):
        await street.hub.share.change(first.public_id, TypedFile("x.txt"), street.person("Eve").asker(), "en")


async def test_files_end_after_their_collections_days_and_can_be_extended(street: Street) -> None:
    shelf, ada = await street.shelf(lifetime_days=90), street.person("Ada")
    [line] = (await ada.adds(shelf, ("Rota.txt", ROTA))).lines
    street.clock.pass_time(days=80)
    await street.hub.share.extend(line.public_id, ada.asker())
    street.clock.pass_time(days=20)
    assert await street.lies_in(shelf) == ["Rota.txt"]
    street.clock.pass_time(days=71)
    assert await street.lies_in(shelf) == []
    with pytest.raises(Gone):
        await street.hub.share.file(line.public_id)


async def test_what_has_no_end_is_renewed_before_its_record_ends(street: Street) -> None:
    shelf = await street.shelf()
    await street.person("Ada").adds(shelf, ("Rota.txt", ROTA))
    for _ in range(12):
        street.clock.pass_time(days=50)
        await street.hub.housekeeping.round()
        await street.person("Ada").puts_up()  # a clock that nothing is stamped with for long is doubted
    assert await street.lies_in(shelf) == ["Rota.txt"]


async def test_a_device_brings_only_so_much_in_a_day(street: Street) -> None:
    shelf, ada = await street.shelf(), street.person("Ada")
    await street.setting("files.device_megabytes", "1")
    await ada.adds(shelf, ("a.bin", bytes(700_000)))
    with pytest.raises(EnoughBytesToday):
        await ada.adds(shelf, ("b.bin", b"b" * 700_000))
    assert (await street.hub.share.room(shelf.public_id, ada.cookie)).today == 300_000
    await street.person("Bob").adds(shelf, ("c.bin", b"c" * 700_000))
    street.clock.pass_time(days=1)
    await ada.adds(shelf, ("b.bin", b"b" * 700_000))
    await street.setting("files.device_files", "1")
    with pytest.raises(EnoughFilesToday):
        await ada.adds(shelf, ("d.bin", b"d"))


async def test_a_collection_holds_only_so_much(street: Street) -> None:
    shelf = await street.shelf()
    await street.setting("files.collection_megabytes", "1")
    await street.person("Ada").adds(shelf, ("a.bin", bytes(700_000)))
    with pytest.raises(CollectionFull):
        await street.person("Bob").adds(shelf, ("b.bin", b"b" * 700_000))
    assert (await street.hub.share.room(shelf.public_id, None)).collection == 300_000


async def test_reports_hide_a_file_from_list_bytes_archive_and_search(street: Street) -> None:
    shelf = await street.shelf()
    [line] = (await street.person("Eve").adds(shelf, ("Bad.txt", b"bad"))).lines
    for name in ("Ada", "Bob", "Cy"):
        await street.person(name).reports(line.public_id, Reason.UNLAWFUL, of="file")
    assert await street.lies_in(shelf) == []
    assert await street.found("bad") == []
    assert (await street.hub.share.members(shelf.public_id))[1] == []
    with pytest.raises(NotFound):
        await street.hub.share.bytes_of(line.public_id)
    await street.hub.caretaking.restore(line.public_id, RULE, "gwen")
    assert await street.lies_in(shelf) == ["Bad.txt"]
    assert await street.acts() == ["auto-hide", "restore"]


async def test_a_hidden_collection_hides_its_files(street: Street) -> None:
    shelf = await street.shelf()
    [line] = (await street.person("Ada").adds(shelf, ("Rota.txt", ROTA))).lines
    await street.hub.caretaking.hide(shelf.public_id, RULE, "gwen")
    assert await street.hub.share.collections() == []
    assert await street.hub.share.newest(9) == []
    assert await street.found("rota") == []
    for look in (street.hub.share.collection(shelf.public_id), street.hub.share.bytes_of(line.public_id)):
        with pytest.raises(NotFound):
            await look


async def test_an_erased_collection_takes_its_files_with_it(street: Street) -> None:
    shelf = await street.shelf()
    await street.person("Ada").adds(shelf, ("Rota.txt", ROTA), ("Menu.pdf", MENU))
    await street.hub.caretaking.erase(shelf.public_id, RULE, "gwen")
    assert not [path for path in (street.data / "blobs").rglob("*") if path.is_file()]
    database = (street.data / "hub.db").read_bytes() + (street.data / "hub.db-wal").read_bytes()
    assert b"Rota.txt" not in database
    assert await street.rows("SELECT 1 FROM file WHERE state != 2") == []


async def test_bytes_that_another_file_names_stay_when_one_is_erased(street: Street) -> None:
    shelf, other = await street.shelf(), await street.shelf("Other")
    [line] = (await street.person("Ada").adds(shelf, ("Rota.txt", ROTA))).lines
    [twin] = (await street.person("Bob").adds(other, ("Plan.txt", ROTA))).lines
    await street.hub.caretaking.erase(line.public_id, RULE, "gwen")
    kept = (await street.hub.share.bytes_of(twin.public_id)).blob.sha256
    assert street.hub.blobs.path(kept).read_bytes() == ROTA


async def test_the_members_of_an_archive_have_single_names_and_their_crc(street: Street) -> None:
    shelf = await street.shelf()
    await street.person("Ada").adds(shelf, ("Rota.txt", ROTA), ("Menu.pdf", MENU))
    await street.tamper("DELETE FROM checksum")
    _, members = await street.hub.share.members(shelf.public_id)
    assert [(each.name, each.crc32) for each in members] == [
        ("Rota.txt", zlib.crc32(ROTA)),
        ("Menu.pdf", zlib.crc32(MENU)),
    ]
    assert len(await street.table("checksum")) == 2


async def test_a_form_without_files_or_with_too_many_words_is_put_right(street: Street) -> None:
    shelf, asker = await street.shelf(), street.person("Ada").asker()
    typed = TypedFiles("d" * 1001, "n" * 61)
    with pytest.raises(FormRefused) as refused:
        await street.hub.share.put_up(shelf.public_id, typed, [], asker, "k", "en")
    assert set(refused.value.problems) == {"description", "name", "file"}
    assert isinstance(refused.value.problems["file"], NoFiles)


async def test_collections_are_made_and_changed_by_caretakers_with_what_is_allowed(street: Street) -> None:
    shelf = await street.shelf("Minutes", owner="Residents’ group", licence="share", scope="network")
    changed = await street.hub.filekeeping.change_collection("minutes", wanted(lifetime_days=30), "gwen")
    assert (changed.title, changed.lifetime_days, changed.licence) == ("Minutes", 30, "share")
    for wrong in ({"title": " "}, {"may_add": "cats"}, {"lifetime_days": 401}, {"scope": "hub"}):
        with pytest.raises(BadCollection):
            await street.hub.filekeeping.change_collection(shelf.public_id, wanted(**wrong), "gwen")
    with pytest.raises(NotFound):
        await street.hub.filekeeping.change_collection("nothing", wanted(title="x"), "gwen")


async def test_a_new_hub_begins_with_one_open_box(street: Street) -> None:
    for _ in range(2):
        await street.hub.share.found("The open box", "For everybody.", "en")
    [box] = await street.hub.share.collections()
    assert (box.title, str(box.may_add), box.lifetime_days, str(box.scope)) == (
        "The open box",
        "everyone",
        90,
        "hub",
    )
    await street.hub.caretaking.erase(box.public_id, RULE, "gwen")
    await street.hub.share.found("The open box", "For everybody.", "en")
    assert await street.hub.share.collections() == []


async def test_caretakers_free_what_has_ended_and_see_first_what_that_would_be(street: Street) -> None:
    shelf = await street.shelf(lifetime_days=1)
    await street.person("Ada").adds(shelf, ("Film.bin", bytes(300_000)))
    street.clock.pass_time(days=2)
    would = await street.hub.filekeeping.free(carry_out=False, actor="gwen")
    assert (would.files, would.size) == (1, 300_000)
    assert [path for path in (street.data / "blobs").rglob("*") if path.is_file()]
    await street.hub.filekeeping.free(carry_out=True, actor="gwen")
    assert not [path for path in (street.data / "blobs").rglob("*") if path.is_file()]


async def test_a_rebuild_gives_the_same_shelves_and_the_check_finds_nothing(street: Street) -> None:
    shelf = await street.shelf()
    [line, _] = (await street.person("Ada").adds(shelf, ("Rota.txt", ROTA), ("Menu.pdf", MENU))).lines
    await street.hub.caretaking.erase(line.public_id, RULE, "gwen")
    before = [await street.table(name) for name in ("collection", "file", "blob_use", "search_doc")]
    await street.hub.upkeep.rebuild()
    assert [await street.table(name) for name in ("collection", "file", "blob_use", "search_doc")] == before
    assert (await street.hub.upkeep.check()).findings == ()


async def test_every_refusal_has_words(street: Street) -> None:
    for error in (MayNotAdd(), NoFiles(), CollectionFull(megabytes=3)):
        assert isinstance(error, HubError)
        assert "{" not in str(error)


def wanted(**fields: object) -> Wanted:
    return Wanted(**fields)  # type: ignore[arg-type]
