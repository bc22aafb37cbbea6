"""A loopback server that speaks as much of S3 as reading needs: listings, sizes with entity tags, ranges of bytes."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
ENTRY = (
    "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>&quot;{tag}&quot;</ETag>"
    "<LastModified>2026-10-21T07:28:00.000Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
)


class Handler(http.server.BaseHTTPRequestHandler):
    """``objects``: BUCKET/KEY -> bytes; ``asked``: (verb, path, range) of every request."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    asked: list[tuple[str, str, str]]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        path, query = urllib.parse.unquote(url.path).strip("/"), urllib.parse.parse_qs(url.query)
        wanted = self.headers.get("Range", "")
        self.asked.append((self.command, path, wanted))
        if "/" not in path:
            self._send(
                200, self._listing(path, query.get("prefix", [""])[0], query.get("delimiter", [""])[0]), {}
            )
            return
        content = self.objects.get(path)
        if content is None:
            self._send(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>", {})
            return
        headers = {"ETag": f'"{tag_of(content)}"', "Last-Modified": DATE, "Accept-Ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        if part is None:
            self._send(200, content, headers)
            return
        first, last = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._send(206, content[first : last + 1], headers)

    def _listing(self, bucket: str, prefix: str, delimiter: str) -> bytes:
        found, folders = [], set()
        for path, content in sorted(self.objects.items()):
            key = path.removeprefix(f"{bucket}/")
            if key == path or not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                found.append(ENTRY.format(key=key, size=len(content), tag=tag_of(content)))
        told = "".join(f"<CommonPrefixes><Prefix>{one}</Prefix></CommonPrefixes>" for one in sorted(folders))
        head = f"<Name>{bucket}</Name><Prefix>{prefix}</Prefix><KeyCount>{len(found)}</KeyCount>"
        text = f"{head}<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{''.join(found)}{told}"
        name = 'ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        return f'<?xml version="1.0" encoding="UTF-8"?><{name}>{text}</ListBucketResult>'.encode()

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        pass


def tag_of(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@contextmanager
def serving() -> Iterator[tuple[str, type[Handler]]]:
    """(address, the handler that holds the objects) of a server on this machine."""
    handler = type("Holding", (Handler,), {"objects": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def small_s3(endpoint: str) -> type[AbstractFileSystem]:
    """A file system of fsspec for ``s3://`` over such a server, with the keys that s3fs gives; for where s3fs is not."""
    import urllib.request

    def ask(path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{endpoint}/{path}", headers=headers or {}, method=method)
        try:
            return urllib.request.urlopen(request)
        except urllib.error.HTTPError as failure:
            failure.close()
            raise FileNotFoundError(path) from None

    class SmallS3(AbstractFileSystem):
        protocol = "s3"
        cachable = False

        def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
            path = self._strip_protocol(path)
            bucket, _slash, prefix = path.partition("/")
            prefix = f"{prefix}/" if prefix else ""
            with ask(f"{bucket}?list-type=2&delimiter=/&prefix={prefix}") as answer:
                text = answer.read().decode()
            entry = r"<Contents><Key>(.*?)</Key><Size>(\d+)</Size><ETag>(.*?)</ETag>"
            found: list[Any] = [
                {
                    "name": f"{bucket}/{key}",
                    "size": int(size),
                    "type": "file",
                    "ETag": tag.replace("&quot;", '"'),
                }
                for key, size, tag in re.findall(entry, text)
            ]
            found += [
                {"name": f"{bucket}/{folder.rstrip('/')}", "size": 0, "type": "directory"}
                for folder in re.findall(r"<CommonPrefixes><Prefix>(.*?)</Prefix>", text)
            ]
            if not found:
                with ask(path, method="HEAD") as answer:
                    size, tag = int(answer.headers["Content-Length"]), answer.headers["ETag"]
                found = [{"name": path, "size": size, "type": "file", "ETag": tag}]
            return found if detail else [one["name"] for one in found]

        def cat_file(self, path: str, start: Any = None, end: Any = None, **_: Any) -> bytes:
            span = {} if start is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
            with ask(self._strip_protocol(path), span) as answer:
                return answer.read()

        def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            return SmallFile(
                self, path, mode, **{key: options[key] for key in ("block_size",) if key in options}
            )

    class SmallFile(fsspec.spec.AbstractBufferedFile):
        def _fetch_range(self, start: int, end: int) -> bytes:
            return self.fs.cat_file(self.path, start, end)

    return SmallS3
