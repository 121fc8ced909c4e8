"""What the program says on standard error, seen from outside."""

import subprocess
import sys


def said(code: str, level: str = "info") -> list[str]:
    """The lines that ``code`` leaves on standard error."""
    begin = f"import logging; from hub.runtime.logs import set_up; set_up({level!r}); "
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, check=True)
    assert not done.stdout
    return done.stderr.splitlines()


def test_a_line_is_keys_and_values_with_known_fields_only() -> None:
    assert said(
        "logging.getLogger('hub.web').warning('page failed', extra={'method': 'GET', 'address': '192.0.2.7'})"
    ) == ["level=warning part=web event='page failed' method='GET'"]


def test_no_text_can_begin_a_line_of_its_own() -> None:
    assert said("logging.getLogger('hub').error('a\\nlevel=info', extra={'path': '/\\r\\nb'})") == [
        "level=error part=hub event='a\\nlevel=info' path='/\\r\\nb'"
    ]


def test_the_level_decides_how_much_is_said() -> None:
    speak = "log = logging.getLogger('hub'); log.debug('d'); log.info('i'); log.error('e')"
    assert len(said(speak, "debug")) == 3
    assert len(said(speak, "info")) == 2
    assert len(said(speak, "error")) == 1


def test_a_failure_of_the_hub_comes_with_its_traceback_and_without_what_it_says() -> None:
    lines = said("\ntry: 1/0\nexcept Exception: logging.getLogger('hub').exception('task failed')")
    assert lines[0] == "level=error part=hub event='task failed'"
    assert lines[-1] == "ZeroDivisionError"  # a message can quote what somebody wrote


def test_malformed_requests_leave_no_line() -> None:
    assert said("logging.getLogger('aiohttp.server').error('Error handling request', exc_info=True)") == []
    assert said("logging.getLogger('aiohttp.access').info('GET /')") == []
    assert said("logging.getLogger('asyncio').info('poll took long')") == []
