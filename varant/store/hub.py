"""Files of the Hugging Face hub, where a flag asks for them: `hf:owner/name/file`.

Needs the extra `hub`. A file is downloaded once, into that library's cache (`HF_HOME`), which also
serves without a network; `HF_ENDPOINT` names another server.
"""

import functools
import re
import sys
from pathlib import Path

from varant.errors import UserError
from varant.files import sha256_once
from varant.values import shortened

EXAMPLE = "hf:FoundationVision/var/var_d16.pth"


@functools.cache
def local(path: Path, flag: str) -> Path:
    """The file that a flag names, itself or as it is in the hub's cache, its digest being said.

    Raises:
        UserError: a name of another form, the extra is not installed, or the hub, the network or
            the cache has no such file.
    """
    named = str(path)
    if not named.startswith("hf:"):
        return path
    match = re.fullmatch(r"hf:([^/]+/[^/]+)/(.+)", named)
    if match is None:
        raise UserError(f"{flag} {named}: give hf:owner/name/file, such as {EXAMPLE}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise UserError(
            f"{flag} {named}: needs the extra `hub` (pip install 'varant[hub]'), or give a file"
        ) from None
    try:
        found = Path(hf_hub_download(repo_id=match[1], filename=match[2]))
    except Exception as error:  # families of its own, of its HTTP library and of the system
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk, say
        said = shortened(str(error).strip().partition("\n")[0]) or type(error).__name__
        raise UserError(f"{flag} {named}: cannot be had from the hub ({said})") from None
    print(f"{named}: {found}, SHA-256 {sha256_once(found)}", file=sys.stderr)
    return found
