"""nginx as a process of its own: what a general web server does with the same bytes in the same minute.

It runs in the foreground with a configuration of ours, on 127.0.0.1, without logs, and is ended by its
process id. Debian package nginx-light.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_READY_S = 10.0
_CONFIGURATION = """\
daemon off;
master_process off;
pid {work}/pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  server_tokens off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_temp_path {folder}/.arriving;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {folder};
    location / {{ dav_methods PUT DELETE; create_full_put_path on; }}
  }}
}}
"""
"""As a careful administrator has it: sendfile in full packets. Bodies arrive on the disk of ``folder``."""


class Nginx:
    """Serves the files of ``folder``, which also takes PUT and DELETE."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if program is None:
            raise RuntimeError("nginx is not installed (Debian package nginx-light)")
        self._work = tempfile.TemporaryDirectory(prefix="hub-bench-nginx-")
        work = Path(self._work.name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        configuration = work / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(work=work, folder=folder, port=self.port))
        self._child = subprocess.Popen([program, "-p", work, "-c", configuration])
        self.pid = self._child.pid
        deadline = time.monotonic() + _READY_S
        while not self._answers():
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("nginx did not start")
            time.sleep(0.01)

    def cpu_s(self) -> float:
        """CPU seconds so far, to the nanosecond: it is one process with one thread."""
        return time.clock_gettime(~self.pid << 3 | 2)  # clock_getcpuclockid(3)

    def stop(self) -> None:
        """End it."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            self._child.wait(30)
        self._work.cleanup()

    def __enter__(self) -> Nginx:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
