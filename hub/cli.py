"""The command ``hub``: the program itself, and everything a caretaker can ask of it.

Commands find their hub by ``--data`` or ``HUB_DATA``; all but ``run`` talk to it over its local
socket, whose permissions are the login. ``check`` and ``rebuild`` also work on a hub that is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import category

import msgspec

from hub import __version__
from hub.api.client import Client, HubAway, ProblemAnswer
from hub.api.schema import (
    AdvisedOut,
    CollectionIn,
    Decision,
    Done,
    FindingOut,
    Findings,
    ItemOut,
    NeighbourOut,
    PairingIn,
    PairingOut,
    ReceiptOut,
    StickIn,
)
from hub.domain.errors import HubError
from hub.runtime.system_clock import SystemClock

if TYPE_CHECKING:
    from hub.app import Hub

SOCKET = Path("run", "admin.sock")
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_FOR_DAYS = 7
_SCOPES = ("hub", "neighbours", "network")
_MAY_ADD = ("everyone", "checked", "caretakers")
_LICENCES = ("ask", "share", "free", "varies")
_STREAMS = ("notices", "files")
_REASONS = ("child", "threat", "unlawful", "about-me", "rules", "untrue", "my-work", "unsure")
_CHOICES = ("exchange", "hold", "none")
_ADVICE = ("ask", "apply")
_WHERE = ("waiting", "board", "hidden", "gone", "all")

EXIT_OK, EXIT_REFUSED, EXIT_AWAY, EXIT_FOUND = 0, 1, 3, 4
"""Exit codes: done; the hub said no; no hub answers; a check found something (2 is argparse's)."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    arguments = _parser().parse_args(argv)
    if arguments.data is None:
        print("hub: name the data folder with --data DIR or HUB_DATA.", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(arguments.command(arguments))
    except ProblemAnswer as answer:
        print(f"hub: {answer.problem.detail}", file=sys.stderr)
        sys.exit(EXIT_REFUSED)
    except HubError as error:
        print(f"hub: {error}", file=sys.stderr)
        sys.exit(EXIT_REFUSED)
    except HubAway:
        print(
            f"hub: no hub answers in {arguments.data}. Nothing was changed. Start it: hub run --data DIR",
            file=sys.stderr,
        )
        sys.exit(EXIT_AWAY)
    except PermissionError:
        print("hub: you may not use this hub's socket. Nothing was changed.", file=sys.stderr)
        sys.exit(EXIT_REFUSED)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(130)


# --- running --------------------------------------------------------------------------------------


def _run(arguments: argparse.Namespace) -> int:
    gc.disable()  # what a start makes, modules above all, is there to stay: looking for garbage finds none
    from hub.runtime import logs
    from hub.runtime.supervise import Fatal

    logs.set_up("info")
    os.umask(0o027)  # what people wrote is for the hub's own user and group
    # A wipe writes the database anew: beside it, not into a /tmp that may be a piece of memory.
    os.environ.setdefault("SQLITE_TMPDIR", str(arguments.data.absolute() / "tmp"))
    given = {"web.port": arguments.port, "hub.name": arguments.name, "web.listen": arguments.listen}
    flags = {key: str(value) for key, value in given.items() if value is not None}
    try:
        asyncio.run(_serve(arguments.data, flags))
    except Fatal as fatal:
        return fatal.status
    return EXIT_OK


async def _serve(data: Path, flags: dict[str, str]) -> None:
    from hub.app import Hub
    from hub.runtime import logs

    hub = await Hub.open(data, environ=os.environ, flags=flags)
    logs.set_up(hub.preferences.current.log.level)
    try:
        await hub.start()
    except BaseException:
        await hub.close()
        raise
    gc.freeze()
    gc.enable()
    serving = asyncio.ensure_future(hub.serve())
    await asyncio.sleep(0)  # it has begun: what cancels it from here on also stops it in order
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    _greet(hub)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def _greet(hub: Hub) -> None:
    """Print where to open the hub: every address, and a QR code of the best one."""
    addresses = hub.addresses()
    print(f"{hub.name} is running. Open it on this network:")
    for address in [*hub.expected_names(), *addresses]:
        print(f"  {address}/")
    with contextlib.suppress(UnicodeEncodeError):  # a terminal without block characters
        import segno

        segno.make(f"{addresses[0]}/", micro=False).terminal(compact=True, border=2)
    print("Stop it with Ctrl+C.", flush=True)


# --- looking --------------------------------------------------------------------------------------


def _status(arguments: argparse.Namespace) -> int:
    status = _client(arguments).status()
    if arguments.json:
        return _json(status)
    print(f"{status.state:<5} {status.name}, version {status.version}")
    for line in status.lines:
        print(f"{line.state:<5} {line.sentence}{f' -> {line.remedy}' if line.remedy else ''}")
    print(f"      {status.notices} notices, {status.replies} replies; posting is {status.posting}.")
    for address in status.addresses:
        print(f"      {address}/")
    return EXIT_OK if status.state != "STOP" else EXIT_FOUND


def _notices_list(arguments: argparse.Namespace) -> int:
    items = _client(arguments).notices(arguments.where)
    if arguments.json:
        return _json(items)
    for item in items:
        flags = "".join((" pinned" if item.pinned else "", " urgent" if item.urgent else ""))
        print(f"{item.id}  {_time(item.posted_ms)}  {item.state:<9} {_excerpt(item)}{flags}")
    if not items:
        print("Nothing here.")
    return EXIT_OK


def _notices_show(arguments: argparse.Namespace) -> int:
    item = _client(arguments).item(arguments.id)
    if arguments.json:
        return _json(item)
    _print_item(item)
    return EXIT_OK


def _reports_list(arguments: argparse.Namespace) -> int:
    reports = _client(arguments).reports(decided=arguments.decided)
    if arguments.json:
        return _json(reports)
    for report in reports:
        state = report.outcome or ("hidden until decided" if report.item.state == "hidden" else "open")
        print(f"{report.reference}  {_time(report.at_ms)}  {report.reason:<9} {state}  on {report.item.id}")
        if report.words:
            print(f"    “{_harmless(report.words)}”")
        print(f"    {report.item.of}: {_excerpt(report.item)}")
    if not reports:
        print("No reports.")
    return EXIT_OK


def _collections_list(arguments: argparse.Namespace) -> int:
    found = _client(arguments).collections()
    if arguments.json:
        return _json(found)
    for item in found:
        ends = f"{item.lifetime_days} days" if item.lifetime_days else "no end"
        about = (
            f"{item.files} files, {_size(item.size)}, {item.may_add} may add, {ends}, seen by {item.scope}"
        )
        print(f"{item.id}  {item.state:<9} {_harmless(item.title)}  ({about})")
    if not found:
        print("No collections.")
    return EXIT_OK


def _files_list(arguments: argparse.Namespace) -> int:
    files = _client(arguments).files(arguments.where, arguments.collection or "")
    if arguments.json:
        return _json(files)
    for file in files:
        until = f"until {_time(file.expires_ms)}"
        where = f"{file.state}, {until}, in {_harmless(file.collection) or 'no collection'}"
        print(f"{file.id}  {_size(file.size):>9}  {_harmless(file.name)}  ({where})")
    if not files:
        print("No files.")
    return EXIT_OK


def _devices_list(arguments: argparse.Namespace) -> int:
    devices = _client(arguments).devices()
    if arguments.json:
        return _json(devices)
    for device in devices:
        words = [f"since {device.since}", f"{device.shown} notices"]
        words += ["trusted"] if device.trusted else []
        words += [f"paused until {_time(device.paused_until_ms)}"] if device.paused_until_ms else []
        words += [f"banned until {_time(device.banned_until_ms)}"] if device.banned_until_ms else []
        print(f"{device.mark:<24} {', '.join(words)}")
    if not devices:
        print("No device has written anything yet.")
    return EXIT_OK


def _settings_show(arguments: argparse.Namespace) -> int:
    settings = _client(arguments).settings()
    if arguments.json:
        return _json(settings)
    for line in settings:
        if arguments.key and not line.key.startswith(arguments.key):
            continue
        note = "" if line.source == "default" else f"  ({line.source})"
        print(f"{line.key} = {line.value}{note}")
        print(f"    {line.sentence}{'' if line.live else ' Read at the start, from hub.toml.'}")
    return EXIT_OK


def _ledger(arguments: argparse.Namespace) -> int:
    entries = _client(arguments).ledger(arguments.before)
    if arguments.json:
        return _json(entries)
    for entry in entries:
        outcome = f" ({entry.outcome})" if entry.outcome else ""
        act = f"{entry.act} {entry.subject}{outcome}, by {entry.role}: {entry.rule}"
        print(f"{entry.number:>5}  {_time(entry.at_ms)}  {act}  [{entry.digest[:12]}]")
    if not entries:
        print("Nothing has been decided yet.")
    return EXIT_OK


# --- deciding -------------------------------------------------------------------------------------


def _act(arguments: argparse.Namespace) -> int:
    until_ms = _until(arguments) if arguments.verb in ("pin", "urgent") else 0
    decision = Decision(rule=getattr(arguments, "rule", "") or "", until_ms=until_ms)
    return _done(arguments, _client(arguments).act(arguments.id, arguments.verb, decision))


def _advise(arguments: argparse.Namespace) -> int:
    decision = Decision(
        outcome=getattr(arguments, "reason", None) or "",
        rule=getattr(arguments, "rule", None) or "",
        value="files" if getattr(arguments, "files", False) else "",
        yes=not arguments.off,
    )
    return _done(arguments, _client(arguments).act(arguments.id, arguments.verb, decision))


def _decide(arguments: argparse.Namespace) -> int:
    decision = Decision(outcome=arguments.outcome, rule=arguments.rule, answer=arguments.answer or "")
    return _done(arguments, _client(arguments).decide(arguments.reference, decision))


def _device(arguments: argparse.Namespace) -> int:
    until_ms = 0 if arguments.verb == "lift" else _until(arguments)
    verb = "pause" if arguments.verb == "lift" else arguments.verb
    decision = Decision(rule=arguments.rule, until_ms=until_ms)
    return _done(arguments, _client(arguments).device(arguments.mark, verb, decision))


def _trust(arguments: argparse.Namespace) -> int:
    decision = Decision(yes=not arguments.no)
    return _done(arguments, _client(arguments).device(arguments.mark, "trust", decision))


def _settings_set(arguments: argparse.Namespace) -> int:
    return _done(arguments, _client(arguments).change_setting(arguments.key, arguments.value))


# --- files ----------------------------------------------------------------------------------------


def _collection(arguments: argparse.Namespace) -> int:
    wanted = CollectionIn(
        title=arguments.title,
        description=arguments.description,
        owner=arguments.owner,
        language=arguments.language,
        may_add=arguments.may_add,
        licence=arguments.licence,
        lifetime_days=arguments.days,
        scope=getattr(arguments, "scope", None),
    )
    client = _client(arguments)
    if arguments.verb == "add":
        made = client.add_collection(wanted)
    else:
        made = client.change_collection(arguments.collection, wanted)
    if arguments.json:
        return _json(made)
    print(f"{made.id}  {_harmless(made.title)}")
    return EXIT_OK


def _files_add(arguments: argparse.Namespace) -> int:
    status = EXIT_OK
    for path in arguments.path:
        try:
            added = _client(arguments).add_file(
                arguments.collection,
                path,
                by=arguments.by or "",
                description=arguments.description or "",
                original=arguments.original,
            )
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            print(f"hub: {path} cannot be read ({error.strerror}).", file=sys.stderr)
            status = EXIT_REFUSED
            continue
        if arguments.json:
            _json(added)
        else:
            print(f"{added.id}  {_harmless(added.name)}  {added.outcome}")
    return status


def _files_free(arguments: argparse.Namespace) -> int:
    client = _client(arguments)
    freed = client.free_files(carry_out=arguments.yes)
    if arguments.json:
        return _json(freed)
    if freed.done:
        print(
            f"{_size(freed.size)} freed: {freed.files} files had ended, {freed.uploads} uploads had stopped."
        )
    else:
        about = f"{freed.files} files that ended, {freed.uploads} uploads that stopped"
        print(f"{_size(freed.size)} can be freed ({about}) with: hub files free --yes")
    print(f"{_size(freed.free_bytes)} are free on the card now.")
    largest = client.files("largest")[:5]
    if largest:
        print("The largest files are (erase one with: hub files erase ID --rule RULE):")
    for file in largest:
        print(f"  {file.id}  {_size(file.size):>9}  {_harmless(file.name)}")
    return EXIT_OK


# --- neighbours -----------------------------------------------------------------------------------


def _neighbours_list(arguments: argparse.Namespace) -> int:
    found = _client(arguments).neighbours()
    if arguments.json:
        return _json(found)
    for each in found:
        print(_neighbour_line(each))
    if not found:
        print("No neighbours yet. Hubs on this network: hub neighbours discover")
    return EXIT_OK


def _neighbours_show(arguments: argparse.Namespace) -> int:
    found = _client(arguments).neighbour(arguments.name)
    if arguments.json:
        return _json(found)
    print(_neighbour_line(found))
    print(f"id {found.id}, version {found.version or 'unknown'}, colour {found.colour}")
    print(f"paired {_time(found.paired_ms)}, last heard {_moment(found.heard_ms)}")
    if found.offset_ms is not None:
        ahead = "ahead of" if found.offset_ms > 0 else "behind"
        print(f"its clock is {abs(found.offset_ms) / 1000:.0f} s {ahead} this hub’s")
    for stream in found.streams:
        print(f"{stream.stream}: {stream.ours} here, {stream.theirs} there; {stream.sentence}")
    for each in found.addresses:
        print(f"{each.address}  {each.learnt}, last worked {_moment(each.good_ms)}")
    return EXIT_OK


def _neighbours_nearby(arguments: argparse.Namespace) -> int:
    found = _client(arguments).nearby(sweep=arguments.verb == "sweep")
    if arguments.json:
        return _json(found)
    for each in found:
        state = "not paired" if each.state == "unknown" else each.state
        print(f"{_harmless(each.name) or 'a hub'}  ({each.id[:4]})  {state}  {' '.join(each.addresses)}")
        if each.namesake:
            print("    LOOK  Another hub has this name too. Compare the id before you trust it.")
    if not found:
        print("No hub was found. Are both on one network? Some Wi-Fi keeps devices apart: pair by address.")
    return EXIT_OK


def _neighbours_forks(arguments: argparse.Namespace) -> int:
    found = _client(arguments).forks()
    if arguments.json:
        return _json(found)
    for each in found:
        print(
            f"LOOK  {_harmless(each.name)}  ({each.id[:4]})  two hubs write as it since {_time(each.seen_ms)}"
        )
        print("    Has it moved to another machine, or is one a copy? hub neighbours decide NAME moved|new")
    if not found:
        print("No hub is there twice.")
    return EXIT_FOUND if found else EXIT_OK


def _neighbours_held(arguments: argparse.Namespace) -> int:
    found = _client(arguments).held()
    status = EXIT_FOUND if found else EXIT_OK
    if arguments.json:
        return _json(found, status)
    for each in found:
        name, by = _harmless(each.name), _harmless(each.by) or "a stick"
        records = f"{each.records} record{'' if each.records == 1 else 's'}, {_size(each.size)}"
        print(f"LOOK  {name}  ({each.id[:4]})  {records}, brought by {by}, since {_time(each.since_ms)}")
        print(f"    {_harmless(each.sentence)}")
        print(f"    {_harmless(each.remedy)}")
    if not found:
        print("Nothing that other hubs brought is held back.")
    return status


def _neighbours_answer_held(arguments: argparse.Namespace) -> int:
    return _done(arguments, _client(arguments).answer_held(arguments.name, arguments.verb))


def _neighbours_decide(arguments: argparse.Namespace) -> int:
    return _done(arguments, _client(arguments).decide_fork(arguments.name, arguments.verdict))


def _neighbours_pair(arguments: argparse.Namespace) -> int:
    client = _client(arguments)
    if arguments.verb == "accept":
        given = {"notices": arguments.notices, "files": arguments.files}
        choices = {stream: choice for stream, choice in given.items() if choice}
        return _pairing(arguments, client.pairing("accept", PairingIn(choices=choices)))
    if arguments.verb == "refuse":
        return _pairing(arguments, client.pairing("refuse"))
    if arguments.open:
        return _pairing(arguments, client.pairing("open", PairingIn(minutes=arguments.minutes)))
    if arguments.address:
        return _pairing(arguments, client.pairing("begin", PairingIn(address=arguments.address)))
    return _pairing(arguments, client.pairing())


def _pairing(arguments: argparse.Namespace, standing: PairingOut) -> int:
    status = EXIT_REFUSED if standing.state == "failed" else EXIT_OK
    if arguments.json:
        return _json(standing, status)
    name = _harmless(standing.name)
    about = {
        "open": f"open until {_time(standing.until_ms)}" if standing.until_ms else "open",
        "comparing": f"compare with {name}",
        "accepted": f"waiting for {name}",
        "paired": f"paired with {name}",
    }
    print(f"Pairing: {about.get(standing.state, standing.state)}")
    if standing.digits:
        print(f"\n    {standing.digits[:3]} {standing.digits[3:]}\n")
    if standing.trouble:
        print(f"LOOK  {standing.trouble}")
    print(_harmless(standing.next))
    if standing.agreement:
        print("By pairing, both hubs agree:")
        for line in standing.agreement:
            print(f"  - {line}")
    return status


def _neighbours_sync(arguments: argparse.Namespace) -> int:
    found = _client(arguments).sync(arguments.name or "")
    status = EXIT_FOUND if any(each.trouble for each in found) else EXIT_OK
    if arguments.json:
        return _json(found, status)
    for each in found:
        print(_neighbour_line(each))
    if not found:
        print("There is no neighbour to swap with.")
    return status


def _neighbours_advice(arguments: argparse.Namespace) -> int:
    found = _client(arguments).advice()
    if arguments.json:
        return _json(found)
    for each in found.advised:
        print(_advised_line(each))
        if each.item is not None:
            print(f"    Look at it: hub notices show {each.item.id}")
            print(f"    Hide it here: hub notices hide {each.item.id} --rule RULE")
        else:
            print(f'    Hide them here: hub neighbours choose "{_harmless(each.by)}" advice apply')
    if not found.advised:
        print("No neighbour advises anything about what is seen here.")
    for name in found.follows:
        print(f"What the block list of {_harmless(name)} names is hidden here.")
    if found.listed:
        print(f"This hub’s own block list has {found.listed} entries.")
    return EXIT_OK


def _advised_line(each: AdvisedOut) -> str:
    by, day = _harmless(each.by), _time(each.at_ms)
    if each.item is None:
        about = "1 item is" if each.count == 1 else f"{each.count} items are"
        return f"LOOK  {by} blocks {_harmless(each.about) or 'a hub'} ({day}): {about} seen here"
    said = "is on its block list"
    if each.what == "flag":
        said = f"{each.reason}{f', its house rule {each.rule}' if each.rule else ''}"
    return f"LOOK  {by}: {said} ({day}): {each.item.of} {each.item.id} {_excerpt(each.item)}"


def _neighbourly(arguments: argparse.Namespace) -> int:
    if arguments.verb == "choose" and arguments.stream == "advice":
        following = Decision(value=arguments.choice)
        return _done(arguments, _client(arguments).neighbourly(arguments.name, "advice", following))
    decision = {
        "block": lambda: Decision(yes=not arguments.off),
        "choose": lambda: Decision(outcome=arguments.stream, value=arguments.choice),
        "remember": lambda: Decision(value=arguments.address),
        "part": lambda: Decision(yes=arguments.keep),
    }.get(arguments.verb, Decision)()
    return _done(arguments, _client(arguments).neighbourly(arguments.name, arguments.verb, decision))


def _neighbour_line(each: NeighbourOut) -> str:
    """A neighbour on one line: how it stands comes first."""
    state = "LOOK" if each.trouble else "OK"
    words = [each.state]
    if each.state in ("paired", "paused"):
        words += ["connected"] if each.connected else []
        words += [f"{each.to_go} records to go"] if each.to_go else []
        words += [f"last swapped {_moment(each.swapped_ms)}"]
        words += [each.trouble] if each.trouble else []
    return f"{state:<5} {_harmless(each.name)}  {', '.join(words)}"


def _erased_on(receipts: Sequence[ReceiptOut]) -> str:
    """Where an item was erased, in a sentence, and what is known of the other hubs."""
    done = [each.erased_ms for each in receipts if each.erased_ms is not None]
    parts = [f"Erased on {len(done)} of {len(receipts)} hubs"]
    for each in receipts:
        if each.erased_ms is not None:
            continue
        if each.parted:
            said = "is no longer paired and may never hear of it"
        elif each.heard_ms is None:
            said = "has not been heard from yet"
        elif each.heard_ms < min(done, default=0):
            said = f"not heard from since {_time(each.heard_ms)}"
        else:
            said = f"has not told yet that it did; last heard {_time(each.heard_ms)}"
        parts.append(f"{_harmless(each.name)} {said}")
    return "; ".join(parts) + "."


def _moment(ms: int | None) -> str:
    return _time(ms) if ms else "never"


# --- the carried stick ----------------------------------------------------------------------------


def _bundle_write(arguments: argparse.Namespace) -> int:
    how = StickIn(
        directory=str(arguments.directory.absolute()),
        to=getattr(arguments, "for") or "",
        largest_mb=arguments.files,
        days=arguments.days,
    )
    packed = _client(arguments).write_bundle(how)
    if arguments.json:
        return _json(packed)
    if packed.files:
        print(
            f"{packed.records} records and {packed.blobs} files, {_size(packed.size)}: you can pull it out."
        )
    else:
        print("There is nothing new to carry. You can pull it out.")
    for name in packed.files:
        print(f"  {name}")
    if packed.left_out:
        print(f"{packed.left_out} larger files stay here; take all of them with: --files all")
    return EXIT_OK


def _bundle_read(arguments: argparse.Namespace) -> int:
    found = _client(arguments).read_bundles(str(arguments.directory.absolute()))
    status = EXIT_FOUND if any(each.lost or not each.hub for each in found) else EXIT_OK
    if arguments.json:
        return _json(found, status)
    for each in found:
        if not each.hub:
            print(f"LOOK  {_harmless(each.file)} is damaged. Carry a new one.")
            continue
        parts = [f"{each.stored} new", f"{each.known} known"]
        parts += [f"{each.blobs} files"] if each.blobs else []
        parts += [f"{each.waiting} wait for you"] if each.waiting else []
        parts += [f"{each.refused} refused"] if each.refused else []
        parts += [f"{each.sealed} sealed for another hub"] if each.sealed else []
        state = "LOOK" if each.lost else "OK"
        about = f"{each.records} records, made {_time(each.made_ms)}"
        print(f"{state:<5} From {_harmless(each.name)} ({about}): {', '.join(parts)}")
        if each.lost:
            lost = f"{each.lost} of {each.segments} parts could not be read"
            print(f"      {lost}. Read it again, or carry a new one.")
    if not found:
        print("No bundle of another hub is on it.")
    return status


def _card_write(arguments: argparse.Namespace) -> int:
    written = _client(arguments).write_card(str(arguments.directory.absolute()))
    if arguments.json:
        return _json(written)
    print(
        f"{written.path} is this hub's card. Read these words to the other caretaker, by phone or in person:"
    )
    print(f"\n    {written.words}\n")
    return EXIT_OK


def _card_read(arguments: argparse.Namespace) -> int:
    from hub.domain.hubcard import read_card, words_of
    from hub.domain.ids import base32

    found = read_card(_card_bytes(arguments.file))
    card = found.card
    if arguments.json:
        about = {"id": base32(card.hub)[:26], "name": card.name, "made_ms": found.made_ms}
        return _json(about | {"words": words_of(card.hub)})
    print(f"The card of {_harmless(card.name)}, written {_time(found.made_ms)}. Its words are:")
    print(f"\n    {words_of(card.hub)}\n")
    print("Have the caretaker of that hub read its words out to you. If they are these, word for word, type:")
    print(f'    hub neighbours card accept {arguments.file} --words "THE WORDS YOU HEARD"')
    return EXIT_OK


def _card_accept(arguments: argparse.Namespace) -> int:
    data = _card_bytes(arguments.file)
    return _done(arguments, _client(arguments).accept_card(data, arguments.words))


def _card_bytes(path: Path) -> bytes:
    """The beginning of a file, as much as a card may have and a byte more; raises `BadCardFile`."""
    from hub.domain.hubcard import MAX_CARD, BadCardFile

    try:
        with path.open("rb") as file:
            return file.read(MAX_CARD + 1)
    except OSError as error:
        raise BadCardFile from error


# --- upkeep ---------------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> int:
    try:
        result = _client(arguments).check()
    except HubAway:
        offline = asyncio.run(_offline(arguments.data, lambda hub: hub.upkeep.check()))
        found = [FindingOut(what=item.what, sentence=item.sentence) for item in offline.findings]
        result = Findings(findings=found, counted=offline.counted)
    status = EXIT_FOUND if result.findings else EXIT_OK
    if arguments.json:
        return _json(result, status)
    for item in result.findings:
        print(f"STOP  {item.what}: {item.sentence}")
    print(f"{'LOOK' if result.findings else 'OK':<5} Looked at {result.counted}.")
    return status


def _scrub(arguments: argparse.Namespace) -> int:
    result = _client(arguments).scrub()
    status = EXIT_FOUND if result.findings else EXIT_OK
    if arguments.json:
        return _json(result, status)
    for item in result.findings:
        print(f"LOOK  {item.what}: {item.sentence}")
    print(f"{'LOOK' if result.findings else 'OK':<5} Looked at {result.counted}.")
    return status


def _rebuild(arguments: argparse.Namespace) -> int:
    try:
        return _done(arguments, _client(arguments).rebuild())
    except HubAway:
        count = asyncio.run(_offline(arguments.data, lambda hub: hub.upkeep.rebuild()))
        done = Done(sentence=f"{count} items were made again from the log.")
        return _done(arguments, done)


async def _offline(data: Path, work: Callable[[Hub], Any]) -> Any:
    """Do ``work`` on a hub that is not running."""
    from hub.app import Hub

    if not (data / "hub.db").exists():
        raise HubAway
    hub = await Hub.open(data, environ=os.environ)
    try:
        return await work(hub)
    finally:
        await hub.close()


# --- inside ---------------------------------------------------------------------------------------


def _client(arguments: argparse.Namespace) -> Client:
    return Client(arguments.data / SOCKET)


def _done(arguments: argparse.Namespace, done: Any) -> int:
    if arguments.json:
        return _json(done)
    print(done.sentence)
    return EXIT_OK


def _json(value: Any, status: int = EXIT_OK) -> int:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
    return status


def _until(arguments: argparse.Namespace) -> int:
    if getattr(arguments, "off", False):
        return 0
    now_ms = SystemClock().now_ms()
    if arguments.hours is not None:
        return now_ms + int(arguments.hours * _HOUR_MS)
    return now_ms + int((_FOR_DAYS if arguments.days is None else arguments.days) * _DAY_MS)


def _time(ms: int) -> str:
    """Local time, to the minute."""
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def _print_item(item: ItemOut) -> None:
    print(f"{item.id}  {item.of}, {item.state}{f' ({item.hidden_by})' if item.hidden_by else ''}")
    print(f"from {_time(item.posted_ms)}" + (f" to {_time(item.expires_ms)}" if item.expires_ms else ""))
    about = [item.kind, item.language, item.scope, item.name, item.contact]
    print(_harmless(", ".join(part for part in about if part)))
    counts = [f"{item.pictures} pictures", f"{item.replies} replies"] if item.of == "notice" else []
    print(", ".join([*counts, f"{item.reports} open reports"]))
    if item.device:
        print(f"written by the device {item.device}")
    if item.title:
        print(f"\n{_harmless(item.title)}")
    print(f"\n{_harmless(item.text)}")
    if item.receipts:
        print(f"\n{_erased_on(item.receipts)}")
    if item.waiting_change:
        print(f"\n--- a change waits for approval ---\n{_harmless(item.waiting_change)}")


def _size(count: int) -> str:
    """Bytes as people say them, in steps of a thousand."""
    for unit, of in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= of:
            return f"{count / of:.1f} {unit}"
    return f"{count} B"


def _megabytes(typed: str) -> int:
    """What --files means: -1 for all."""
    return {"none": 0, "all": -1}[typed] if typed in ("none", "all") else max(0, int(typed))


def _excerpt(item: ItemOut) -> str:
    """An item's title, or how its text begins, on one line."""
    return " ".join(_harmless(item.title or item.text[:60]).split())


def _harmless(text: str) -> str:
    """Residents' text without the control characters by which it could take over a terminal."""
    return "".join(
        letter if letter == "\n" or category(letter) != "Cc" else "\N{REPLACEMENT CHARACTER}"
        for letter in text.replace("\r\n", "\n").replace("\t", " ")
    )


def _parser() -> argparse.ArgumentParser:
    data = os.environ.get("HUB_DATA")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--data", type=Path, default=Path(data) if data else None, help="the hub's data folder (or HUB_DATA)"
    )
    plain = argparse.ArgumentParser(add_help=False, parents=[common])
    plain.add_argument("--json", action="store_true", help="print JSON instead of lines")
    ruled = argparse.ArgumentParser(add_help=False, parents=[plain])
    ruled.add_argument("--rule", required=True, help="the house rule this follows: its number, or a sentence")
    lasting = argparse.ArgumentParser(add_help=False)
    lasting.add_argument("--days", type=float, help=f"for how many days (default {_FOR_DAYS})")
    lasting.add_argument("--hours", type=float, help="for how many hours")

    parser = argparse.ArgumentParser(prog="hub", description="A village hall's own noticeboard.")
    parser.add_argument("--version", action="version", version=f"hub {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        place: Any, name: str, sentence: str, command: Callable[..., int], *parents: Any, **more: Any
    ) -> Any:
        made = place.add_parser(name, help=sentence, description=sentence, parents=parents or [plain])
        made.set_defaults(command=command, **more)
        return made

    def group(name: str, sentence: str) -> Any:
        made = commands.add_parser(name, help=sentence, description=sentence)
        made.set_defaults(data=None)
        return made.add_subparsers(required=True, metavar="ACTION")

    run = add(commands, "run", "Run the hub.", _run, common)
    run.add_argument("--port", type=int, help="port of the residents' pages (default 8080)")
    run.add_argument("--name", help="what people call the hub")
    run.add_argument("--listen", help="address to listen on (default: all of this machine)")
    add(commands, "status", "Is everything all right?", _status)

    notices = group("notices", "Look at notices and decide about them.")
    listed = add(notices, "list", "List notices, newest first.", _notices_list)
    listed.add_argument("where", nargs="?", choices=_WHERE, default="board", help="which ones (board)")
    add(notices, "show", "Show one notice or reply.", _notices_show).add_argument("id")
    for verb, sentence, parents in (
        ("approve", "Put up what waits.", [plain]),
        ("refuse", "Do not put up what waits; it is erased.", [ruled]),
        ("hide", "Show it to nobody.", [ruled]),
        ("restore", "Show a hidden one again.", [ruled]),
        ("erase", "Erase it for good, pictures included.", [ruled]),
        ("pin", "Pin it to the top of the board.", [plain, lasting]),
        ("urgent", "Make it an official urgent notice.", [plain, lasting]),
    ):
        made = add(notices, verb, sentence, _act, *parents, verb=verb)
        made.add_argument("id", help="the id in its address")
        if verb in ("pin", "urgent"):
            made.add_argument("--off", action="store_true", help="end it")
    for verb, sentence in (
        ("flag", "Tell the neighbours why you object to another hub's item."),
        ("block", "Put another hub's item on the block list that neighbours may follow."),
    ):
        made = add(notices, verb, sentence, _advise, plain, verb=verb)
        made.add_argument("id", help="the id in its address")
        if verb == "flag":
            why = made.add_mutually_exclusive_group(required=True)
            why.add_argument("--reason", choices=_REASONS, help="what is wrong with it")
            why.add_argument("--off", action="store_true", help="take it back")
            made.add_argument("--rule", help="the number of the house rule it breaks")
        else:
            made.add_argument("--files", action="store_true", help="and its bytes, wherever they stand")
            made.add_argument("--off", action="store_true", help="take it off the list")

    collections = group("collections", "Collections of files.")
    add(collections, "list", "List them.", _collections_list)
    for verb, sentence in (("add", "Make a collection."), ("change", "Change a collection.")):
        made = add(collections, verb, sentence, _collection, plain, verb=verb)
        if verb == "add":
            made.add_argument("title")
            made.add_argument("--scope", choices=_SCOPES, help="who may see it, for good (hub)")
        else:
            made.add_argument("collection", help="its id or its title")
            made.add_argument("--title", help="another title")
        made.add_argument("--description", help="what lies in it")
        made.add_argument("--owner", help="the organisation whose it is")
        made.add_argument("--language", help="the language it is described in, as en")
        made.add_argument("--may-add", choices=_MAY_ADD, help="who may add files (everyone)")
        made.add_argument("--licence", choices=_LICENCES, help="may others copy the files? (ask)")
        made.add_argument("--days", type=int, help="how long files stay; 0 for no end (0)")

    files = group("files", "The file share: look, add, decide, make room.")
    for where, sentence in (
        ("list", "List files, the newest first."),
        ("largest", "List the files that fill the card most."),
        ("expiring", "List the files that end first."),
    ):
        shown = {"list": "newest"}.get(where, where)
        made = add(files, where, sentence, _files_list, plain, where=shown)
        made.add_argument("collection", nargs="?", help="only those of this collection: id or title")
    made = add(files, "add", "Put files into a collection.", _files_add)
    made.add_argument("collection", help="its id or its title")
    made.add_argument("path", nargs="+", type=Path, help="the files")
    made.add_argument("--by", help="who made them")
    made.add_argument("--description", help="what they are")
    made.add_argument("--original", action="store_true", help="keep what a camera wrote into photographs")
    made = add(files, "free", "Free what nobody misses on a full card.", _files_free)
    made.add_argument("--yes", action="store_true", help="do it; without, only say how much that is")
    add(files, "show", "Show one file or collection.", _notices_show).add_argument("id")
    for verb, sentence, parents in (
        ("approve", "Put up a file that waits.", [plain]),
        ("refuse", "Do not put up a file that waits; it is erased.", [ruled]),
        ("hide", "Show a file or collection to nobody.", [ruled]),
        ("restore", "Show a hidden one again.", [ruled]),
        ("erase", "Erase a file for good; with a collection, all files in it.", [ruled]),
    ):
        add(files, verb, sentence, _act, *parents, verb=verb).add_argument("id")

    reports = group("reports", "What residents reported.")
    add(reports, "list", "List reports.", _reports_list).add_argument(
        "--decided", action="store_true", help="the decided ones"
    )
    decide = add(reports, "decide", "Decide all reports of an item.", _decide, ruled)
    decide.add_argument("reference")
    decide.add_argument("outcome", choices=("hide", "keep", "erase"))
    decide.add_argument("--answer", help="a sentence for those who reported")

    devices = group("devices", "Phones and computers that wrote something.")
    add(devices, "list", "List them by their two words.", _devices_list)
    for verb, sentence, parents in (
        ("pause", "Let it write nothing for a while.", [ruled, lasting]),
        ("ban", "Let it neither write nor change anything.", [ruled, lasting]),
        ("lift", "End a pause or ban.", [ruled]),
    ):
        add(devices, verb, sentence, _device, *parents, verb=verb).add_argument("mark")
    trust = add(devices, "trust", "Let one serious report of it hide an item at once.", _trust)
    trust.add_argument("mark")
    trust.add_argument("--no", action="store_true", help="no longer")

    neighbours = group("neighbours", "Other hubs: find them, pair, choose what is shared, part.")
    add(neighbours, "list", "List paired hubs and how swapping with them goes.", _neighbours_list)
    for verb, sentence in (
        ("discover", "List hubs that were noticed on this network."),
        ("sweep", "Ask every address of this hub's network for hubs; takes up to a minute."),
    ):
        add(neighbours, verb, sentence, _neighbours_nearby, verb=verb)
    made = add(
        neighbours, "pair", "Pair with a hub, or see how pairing stands.", _neighbours_pair, verb="pair"
    )
    made.add_argument("address", nargs="?", help="where to call it, as oakfield.local or 192.168.4.7")
    made.add_argument("--open", action="store_true", help="let another hub call this one")
    made.add_argument("--minutes", type=int, default=10, help="for how long (10)")
    made = add(neighbours, "accept", "The six digits are the same.", _neighbours_pair, verb="accept")
    for stream in _STREAMS:
        made.add_argument(f"--{stream}", choices=_CHOICES, help=f"what becomes of {stream} (exchange)")
    add(neighbours, "refuse", "The six digits differ, or stop pairing.", _neighbours_pair, verb="refuse")
    made = add(neighbours, "sync", "Compare with a neighbour, or with all, now.", _neighbours_sync)
    made.add_argument("name", nargs="?", help="its name, or how its id begins")
    for verb, sentence, route in (
        ("show", "Show one neighbour.", ""),
        ("pause", "Swap nothing with it until it is let go on.", "pause"),
        ("resume", "Swap with it again.", "resume"),
        ("choose", "Let notices or files be exchanged, held for approval, or not exchanged.", "choose"),
        ("remember", "Call it at a further address.", "remember"),
        ("block", "Put it on the block list that neighbours may follow.", "block"),
        ("unpair", "End the pairing, at once.", "part"),
    ):
        command = _neighbourly if route else _neighbours_show
        made = add(neighbours, verb, sentence, command, verb=route)
        made.add_argument("name", help="its name, or how its id begins")
        if verb == "choose":
            made.add_argument("stream", choices=(*_STREAMS, "advice"))
            made.add_argument(
                "choice", choices=(*_CHOICES, *_ADVICE), help="for advice: ask, or apply its block list"
            )
        elif verb == "block":
            made.add_argument("--off", action="store_true", help="take it off the list")
        elif verb == "remember":
            made.add_argument("address")
        elif verb == "unpair":
            end = made.add_mutually_exclusive_group(required=True)
            end.add_argument("--keep", action="store_true", help="what came from it stays, as an archive")
            end.add_argument("--remove", action="store_true", help="what it wrote is erased here")

    add(
        neighbours,
        "forks",
        "List hubs that are there twice: a copied card, an old backup.",
        _neighbours_forks,
    )
    add(neighbours, "advice", "List what neighbours flagged or block that is seen here.", _neighbours_advice)
    made = add(neighbours, "decide", "Say why a hub is there twice.", _neighbours_decide)
    made.add_argument("name", help="its name, or how its id begins")
    made.add_argument("verdict", choices=("moved", "new"), help="moved to another machine, or a new copy")
    add(neighbours, "held", "List what waits of other hubs, why, and what to do.", _neighbours_held)
    for verb, sentence in (
        ("let-in", "Take what a hub writes that only a stick knew."),
        ("turn-away", "Drop what waits of a hub."),
    ):
        made = add(neighbours, verb, sentence, _neighbours_answer_held, verb=verb)
        made.add_argument("name", help="its name, or how its id begins")

    card = neighbours.add_parser("card", help="Pair by a card on a stick.", description="Pair by a card.")
    card.set_defaults(data=None)
    card = card.add_subparsers(required=True, metavar="ACTION")
    made = add(card, "write", "Write this hub's card on a stick, and show its nine words.", _card_write)
    made.add_argument("directory", type=Path, help="where the stick is")
    made = add(card, "read", "Show whose card a file is, and its words.", _card_read)
    made.add_argument("file", type=Path, help="a .hubcard file")
    made = add(card, "accept", "Pair with the hub of a card.", _card_accept)
    made.add_argument("file", type=Path, help="a .hubcard file")
    made.add_argument("--words", required=True, help="the nine words as its caretaker read them out")

    bundle = group("bundle", "Carry what is shared to a hub that no network reaches.")
    made = add(bundle, "write", "Write what another hub lacks on a stick.", _bundle_write)
    made.add_argument("directory", type=Path, help="where the stick is")
    made.add_argument("--for", help="the neighbour it is for; without, for any hub: what all may have")
    made.add_argument("--files", type=_megabytes, default=64, help="none, all, or up to so many MB each (64)")
    made.add_argument("--days", type=int, default=0, help="everything of so many days, not only what is new")
    made = add(bundle, "read", "Take what a stick brings from other hubs.", _bundle_read)
    made.add_argument("directory", type=Path, help="where the stick is")

    settings = group("settings", "How the hub is set up.")
    add(settings, "show", "Show settings.", _settings_show).add_argument("key", nargs="?")
    change = add(settings, "set", "Change a setting while the hub runs.", _settings_set)
    change.add_argument("key")
    change.add_argument("value")

    add(commands, "ledger", "The public decision ledger, newest first.", _ledger).add_argument(
        "--before", type=int, help="below this number"
    )
    add(commands, "check", "Verify everything the hub keeps.", _check)
    add(commands, "scrub", "Verify the bytes of every file and picture now.", _scrub)
    add(commands, "rebuild", "Make every list and index again from the log.", _rebuild)
    return parser


if __name__ == "__main__":
    main()
