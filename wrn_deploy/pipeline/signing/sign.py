"""Signs a bundle, after all its files were checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.files.signature import SIGNATURE, make_signature
from wrn_deploy.files.staging import commit, locked, staging
from wrn_deploy.files.trust import Trust
from wrn_deploy.manifest import MANIFEST
from wrn_deploy.pipeline.signing.verify import verify_bundle
from wrn_deploy.progress import Progress

__all__ = ["SigningKey", "sign_bundle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """Who signs.

    Args:
        key: a PEM file with an elliptic curve private key.
        password: that of an encrypted key.
        certificate: a PEM file with the key's certificate; None: verifiers need the public key.
        chain: PEM files with the certificates between it and the authority.
    """

    key: Path
    password: str | None = None
    certificate: Path | None = None
    chain: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        for file in (self.key, self.certificate, *self.chain):
            if file is not None and not file.is_file():
                raise DeployError(f"{file} is not a file: expected a PEM file")


def sign_bundle(bundle: Bundle, signer: SigningKey, progress: Progress) -> Path:
    """Writes `manifest.sig` into the bundle, in place of an earlier one; returns its path.

    The signature covers the manifest, and with it the size and the sha256 of every file. A later step changes the
    manifest: sign again after it.

    Raises:
        DeployError: a file is damaged or stale, or the key cannot be used.
        MachineError: model-signing is not installed.

    Example:
        ```python
        sign_bundle(Bundle.open("bundle"), SigningKey(key=Path("private.pem")), Silent())
        ```
    """
    with staging(bundle.folder) as staged, locked(bundle.folder):
        # Under the lock: what is signed is what was checked, whatever other processes did since the bundle was opened.
        verify_bundle(Bundle.open(bundle.folder, trust=Trust()), progress)
        signature = make_signature(
            (bundle.folder / MANIFEST).read_bytes(),
            key=signer.key,
            password=signer.password,
            certificate=signer.certificate,
            chain=signer.chain,
        )
        (staged / SIGNATURE).write_bytes(signature)
        commit(staged, bundle.folder)
    return bundle.folder / SIGNATURE
