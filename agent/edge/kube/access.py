"""Where the API server is and how we prove who we are: inside the cluster, or by a kubeconfig.

Inside, everything is read from the mounted service account, again and again, since the kubelet replaces token and CA under us.
Outside, the `kubernetes` package reads the kubeconfig (merging, exec plugins, certificates); it is imported in the function, since it
costs tens of megabytes that no node should pay. TLS is always verified; a kubeconfig that switches that off is refused.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from agent.edge.kube.errors import NoAccess, one_line

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REREAD_SECONDS = 60.0
"""A token is read again at least so often, whatever the file's times say (client-go does the same)."""
FILE_BYTES = 1 << 20
"""No token or CA bundle comes near."""

Clock = Callable[[], float]


class Access(Protocol):
    """What the client needs of a way in."""

    url: str
    origin: str
    """For people: where this came from."""
    server_name: str | None
    """Name in the server's certificate, where it is not the host of `url`."""
    proxy: str | None

    def tls(self) -> ssl.SSLContext:
        """The context for the next connection. Raises NoAccess."""

    async def authorization(self) -> str | None:
        """The Authorization header for the next request. Raises NoAccess."""

    async def renew(self) -> bool:
        """After a 401: read the credentials again. True if they are others now, so that asking again at once makes sense."""


class WatchedFile:
    """A small file that is read again when it changes, when it is old, and on demand."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._read_at = 0.0
        self._content = b""

    def content(self, *, force: bool = False) -> bytes:
        """Raises NoAccess if it cannot be read now; an old content is not used, it would only earn a 401."""
        try:
            stat = self.path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if force or seen != self._seen or self._clock() - self._read_at >= REREAD_SECONDS:
                with self.path.open("rb") as file:
                    self._content = file.read(FILE_BYTES)
                self._seen, self._read_at = seen, self._clock()
        except OSError as error:
            raise NoAccess(f"{self.path}: {error.strerror or error}") from error
        return self._content


class InCluster:
    """The service account that the kubelet mounts into our pod."""

    def __init__(self, *, host: str, port: str, clock: Clock, directory: Path = SERVICE_ACCOUNT_DIR) -> None:
        self.url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self.origin = f"service account at {directory}"
        self.server_name: str | None = None
        self.proxy: str | None = None
        self._token = WatchedFile(directory / "token", clock=clock)
        self._ca = WatchedFile(directory / "ca.crt", clock=clock)
        self._context: tuple[bytes, ssl.SSLContext] | None = None
        self._sent: str | None = None

    def tls(self) -> ssl.SSLContext:
        bundle = self._ca.content()
        if self._context is None or self._context[0] != bundle:
            try:
                context = tls_context(ca_data=bundle.decode("ascii", "replace"))
            except (ssl.SSLError, ValueError) as error:
                raise NoAccess(f"{self._ca.path}: no usable certificate: {one_line(str(error))}") from error
            self._context = (bundle, context)
        return self._context[1]

    async def authorization(self) -> str | None:
        self._sent = self._header(force=False)
        return self._sent

    async def renew(self) -> bool:
        return self._header(force=True) != self._sent

    def _header(self, *, force: bool) -> str:
        token = self._token.content(force=force).strip()
        if not token or not token.isascii() or b"\n" in token or b"\r" in token:
            raise NoAccess(f"{self._token.path}: this is not a token")
        return f"Bearer {token.decode('ascii')}"


class KubeconfigAccess:
    """A context of a kubeconfig, through the `kubernetes` package. Exec plugins run in a thread, since they may take seconds."""

    def __init__(self, *, path: str, context: str | None = None) -> None:
        self._path = path
        self._context_name = context
        self._load()

    def _load(self) -> None:
        configuration = _read_kubeconfig(self._path, context=self._context_name)
        self.url: str = configuration.host or ""
        self.origin = f"kubeconfig {self._path}"
        self.server_name: str | None = configuration.tls_server_name or None
        self.proxy: str | None = configuration.proxy or None
        if not self.url.startswith("https://"):
            raise NoAccess(f"{self.origin}: the server {self.url!r} is not an https address")
        if configuration.verify_ssl is False:
            raise NoAccess(f"{self.origin}: insecure-skip-tls-verify is not supported; give the server's CA (certificate-authority)")
        try:
            self._tls = tls_context(ca_file=configuration.ssl_ca_cert)
            if configuration.cert_file:
                self._tls.load_cert_chain(configuration.cert_file, configuration.key_file)
        except (OSError, ValueError) as error:
            raise NoAccess(f"{self.origin}: certificates cannot be used: {one_line(str(error))}") from error
        self._configuration = configuration
        self._header = _header_of(configuration)
        if self._header is None and not configuration.cert_file:
            self.origin += " (no credentials: the user has no token or certificate, or its exec plugin gave none)"

    def tls(self) -> ssl.SSLContext:
        return self._tls

    async def authorization(self) -> str | None:
        if self._configuration.refresh_api_key_hook is not None:
            self._header = await asyncio.to_thread(_header_of, self._configuration)
        return self._header

    async def renew(self) -> bool:
        before = self._header
        await asyncio.to_thread(self._load)
        return self._header != before


def tls_context(*, ca_file: str | None = None, ca_data: str | None = None) -> ssl.SSLContext:
    """Verifying, with the cluster's CA alone where one is given, else the system's. Raises ssl.SSLError or ValueError."""
    context = ssl.create_default_context(cafile=ca_file, cadata=ca_data)
    # Python 3.13 made this a default; the CAs of many clusters lack the extensions it wants.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
    return context


def find_access(*, kubeconfig: str | None, environ: Mapping[str, str], clock: Clock, directory: Path = SERVICE_ACCOUNT_DIR) -> Access:
    """The named kubeconfig, else the service account, else $KUBECONFIG, else ~/.kube/config (contract §2). Raises NoAccess.

    May run an exec plugin: call it in a thread, or before the loop starts.
    """
    if kubeconfig:
        return KubeconfigAccess(path=kubeconfig)
    host = environ.get("KUBERNETES_SERVICE_HOST")
    if host:
        return InCluster(host=host, port=environ.get("KUBERNETES_SERVICE_PORT") or "443", clock=clock, directory=directory)
    named = environ.get("KUBECONFIG")
    if named:
        return KubeconfigAccess(path=named)
    usual = Path(environ.get("HOME") or "/nonexistent") / ".kube" / "config"
    if usual.is_file():
        return KubeconfigAccess(path=str(usual))
    raise NoAccess(f"not inside a cluster (KUBERNETES_SERVICE_HOST is not set), and neither $KUBECONFIG nor {usual} is there")


def _read_kubeconfig(path: str, *, context: str | None) -> Any:
    try:
        import kubernetes.client  # noqa: PLC0415 - tens of megabytes that no node should pay
        import kubernetes.config  # noqa: PLC0415
    except ImportError as error:
        raise NoAccess("a kubeconfig needs the Python package `kubernetes` (pip install 'lhnet-agent[kube]')") from error
    for part in path.split(os.pathsep):
        # The package skips files that are not there and then speaks of an invalid one.
        if part and not Path(part).expanduser().is_file():
            raise NoAccess(f"kubeconfig {part}: no such file")
    configuration = kubernetes.client.Configuration()
    try:
        load: Any = kubernetes.config.load_kube_config
        load(config_file=path, context=context, client_configuration=configuration, persist_config=False)
    except Exception as error:
        # It raises nearly everything on bad files: ConfigException, yaml's, TypeError, binascii.Error, OSError.
        raise NoAccess(f"kubeconfig {path}: {one_line(str(error)) or type(error).__name__}") from error
    return configuration


def _header_of(configuration: Any) -> str | None:
    if configuration.refresh_api_key_hook is not None:
        try:
            configuration.refresh_api_key_hook(configuration)
        except Exception as error:
            raise NoAccess(f"credentials could not be renewed: {one_line(str(error))}") from error
    # Named `authorization` up to release 34, `BearerToken` after.
    header = configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization")
    return str(header) if header else None
